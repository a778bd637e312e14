"""A reward for completions that are like a reference text: BLEU, ROUGE-L or chrF."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

from textgym.unspaced_scripts import CHINESE_AND_JAPANESE

from .arguments import check_text
from .extras import require_package
from .function import RewardFunction
from .matching import normalise
from .registry import register_reward
from .units import split_words

Metric = Literal["bleu", "rouge_l", "chrf"]


@register_reward("similarity")
class Similarity(RewardFunction):
    """How like its reference a completion is: 0 for not at all, 1 for the same.

    The references are a column of the prompt data, each a text or a list of several that are equally good. It does not
    apply where a reference is None. Needs the extra `similarity`.

    Metrics:
        - "bleu": of one sentence, with effective order and exponential smoothing, by sacrebleu. Each Chinese or
          Japanese character counts as a word.
        - "rouge_l": F-measure of the longest common subsequence of words (see `textgym.rewards.units.split_words`), by
          rouge-score; of several references the best.
        - "chrf": chrF of characters (not of words), by sacrebleu. Fits any language.

    Args:
        metric: What is measured.
        column: Name of the column with the references.
        name: Name of the term; None for "similarity".

    Raises:
        ValueError: If the metric is unknown.
        TypeError: If the column is no text.
        MissingPackageError: If its package is not installed.

    Reference:
        Papineni et al. (2002); Lin (2004); Popović (2015).
    """

    declared_range = (0.0, 1.0)

    def __init__(self, metric: Metric = "rouge_l", column: str = "reference", *, name: str | None = None) -> None:
        super().__init__(name=name)
        if metric not in get_args(Metric):
            raise ValueError(f'metric must be "bleu", "rouge_l" or "chrf", got {metric!r}.')
        check_text("column", column)
        self.metric = metric
        self.column = column
        self._measure = _MEASURES[metric]()

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float | None]:
        """Return each completion's similarity, 0 to 1; None where there is no reference.

        Raises:
            ValueError: If the column is missing, or a reference is an empty list.
            TypeError: If a reference is neither text, nor a list of texts, nor None.
        """
        if self.column not in columns:
            raise ValueError(
                f"Similarity compares with the column {self.column!r}, which the prompts do not have. Add it to them, "
                "or name another by column=."
            )
        references = map(_as_list, columns[self.column])
        return [
            None if several is None else min(1.0, self._measure(text, several))
            for text, several in zip(completions, references, strict=True)
        ]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_measure"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._measure = _MEASURES[self.metric]()


def _as_list(reference: object) -> list[str] | None:
    if reference is None:
        return None
    texts = [reference] if isinstance(reference, str) else reference
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"A reference must be a text, a list of texts or None, got {reference!r}.")
    if not texts:
        raise ValueError("A list of references must have at least one, got an empty one; for no reference give None.")
    return list(texts)


def _bleu() -> Callable[[str, list[str]], float]:
    metric = require_package("sacrebleu.metrics", "similarity", "Similarity('bleu')").BLEU(effective_order=True)

    def measure(text: str, references: list[str]) -> float:
        return float(metric.sentence_score(_spaced(text), list(map(_spaced, references))).score) / 100

    return measure


def _chrf() -> Callable[[str, list[str]], float]:
    metric = require_package("sacrebleu.metrics", "similarity", "Similarity('chrf')").CHRF()

    def measure(text: str, references: list[str]) -> float:
        return float(metric.sentence_score(text, references).score) / 100

    return measure


def _rouge_l() -> Callable[[str, list[str]], float]:
    module = require_package("rouge_score.rouge_scorer", "similarity", "Similarity('rouge_l')")
    scorer = module.RougeScorer(["rougeL"], tokenizer=_Words())

    def measure(text: str, references: list[str]) -> float:
        return float(scorer.score_multi(references, text)["rougeL"].fmeasure)

    return measure


class _Words:
    """Words for rouge-score, whose own tokenizer drops all that is not ASCII; case and punctuation do not count."""

    def tokenize(self, text: str) -> list[str]:
        return [word.rstrip(".,;:!?\"'…)]}") for word in split_words(normalise(text))]


def _spaced(text: str) -> str:
    """Put spaces around Chinese and Japanese characters, as sacrebleu's tokenizer "zh" does."""
    return _UNSPACED.sub(r" \g<0> ", text)


_UNSPACED = re.compile(f"[{CHINESE_AND_JAPANESE}]")
_MEASURES: dict[str, Callable[[], Callable[[str, list[str]], float]]] = {
    "bleu": _bleu,
    "rouge_l": _rouge_l,
    "chrf": _chrf,
}
