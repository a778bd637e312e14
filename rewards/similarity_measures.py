"""How like its references each of some completions is: BLEU, ROUGE-L and chrF."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from itertools import chain
from operator import or_
from typing import Any, Literal

from textgym.unspaced_scripts import CHINESE_OR_JAPANESE_CHARACTER

from .chrf import chrf
from .extras import require_package
from .matching import normalise
from .units import split_words

Metric = Literal["bleu", "rouge_l", "chrf"]
# Takes completions, and one or more references of each.
Measure = Callable[[Sequence[str], Sequence[Sequence[str]]], list[float]]

_BLEU_ORDER = 4


def _make_bleu() -> Measure:
    metric = require_package("sacrebleu.metrics", "similarity", "Similarity('bleu')").BLEU(effective_order=True)

    def split(text: str) -> list[str]:
        # Only a line break or a word with punctuation needs sacrebleu's rules, and it remembers these words.
        if not text.isascii():
            text = CHINESE_OR_JAPANESE_CHARACTER.sub(r" \g<0> ", text)  # as its tokenizer "zh" does
        words = [text.rstrip()] if "\n" in text else text.split()
        return list(chain.from_iterable([word] if word.isalnum() else metric.tokenizer(word).split() for word in words))

    def measure(completions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
        return [
            _sentence_bleu(metric, split(text), [split(reference) for reference in several])
            for text, several in zip(completions, references, strict=True)
        ]

    return measure


def _sentence_bleu(metric: Any, words: list[str], references: list[list[str]]) -> float:
    """Return `sentence_score`; longer n-grams are not looked for where none of an order is right."""
    n_right = [0] * _BLEU_ORDER
    for n in range(1, _BLEU_ORDER + 1):
        left = reduce(or_, (Counter(_grams(reference, n)) for reference in references))
        for gram in _grams(words, n):
            if gram in left and left[gram] > 0:
                left[gram] -= 1
                n_right[n - 1] += 1
        if n_right[n - 1] == 0:
            break
    n_grams = [max(0, len(words) - n) for n in range(_BLEU_ORDER)]
    nearest = min(map(len, references), key=lambda length: (abs(length - len(words)), length))
    result = metric.compute_bleu(n_right, n_grams, len(words), nearest, smooth_method="exp", effective_order=True)
    return float(result.score) / 100


def _grams(words: list[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(n)), strict=False)


def _make_rouge_l() -> Measure:
    similarity = require_package("rapidfuzz.distance", "similarity", "Similarity('rouge_l')").LCSseq.similarity

    def f_measure(words: list[str], reference: list[str]) -> float:
        # 2 P R / (P + R) with precision common / len(words) and recall common / len(reference).
        n_common: int = similarity(words, reference)
        return 2 * n_common / max(1, len(words) + len(reference))

    def measure(completions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
        return [
            max(f_measure(words, _split_plain(reference)) for reference in several)
            for words, several in zip(map(_split_plain, completions), references, strict=True)
        ]

    return measure


def _split_plain(text: str) -> list[str]:
    """Return words without case and without punctuation behind them."""
    return [word.rstrip(".,;:!?\"'…)]}") for word in split_words(normalise(text))]


def _make_chrf() -> Measure:
    require_package("sacrebleu", "similarity", "Similarity('chrf')")  # which `chrf` falls back on

    def measure(completions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
        if not completions:
            return []
        repeated = [text for text, several in zip(completions, references, strict=True) for _ in several]
        scores = iter(chrf(repeated, list(chain.from_iterable(references))).tolist())
        return [max(next(scores) for _ in several) for several in references]

    return measure


MEASURES: dict[str, Callable[[], Measure]] = {"bleu": _make_bleu, "rouge_l": _make_rouge_l, "chrf": _make_chrf}
