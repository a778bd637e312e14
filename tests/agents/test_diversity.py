"""How much texts differ: shares counted by hand, and self-BLEU against sacrebleu's own BLEU of one sentence."""

import numpy as np
import pytest

from textgym.agents.diversity import distinct_share, self_bleu


@pytest.mark.parametrize(
    ("texts", "size", "share"),
    [
        ([[1, 2, 1, 2]], 1, 2 / 4),
        ([[1, 2, 1, 2]], 2, 2 / 3),
        ([[1, 2], [1, 2], [3]], 2, 1 / 2),
        # No pair reaches over the end of a text.
        ([[1, 2], [3, 4]], 2, 1.0),
        ([[1], [2]], 2, 0.0),
        ([], 1, 0.0),
    ],
)
def test_distinct_shares_by_hand(texts: list[list[int]], size: int, share: float) -> None:
    assert distinct_share(texts, size) == pytest.approx(share)


@pytest.mark.parametrize("vocabulary", [2, 5, 40])
def test_self_bleu_is_the_mean_of_sacrebleus_bleu_with_all_others_as_references(vocabulary: int) -> None:
    metrics = pytest.importorskip("sacrebleu.metrics", reason="needs the extra similarity")
    bleu = metrics.BLEU(effective_order=True, tokenize="none")
    generator = np.random.default_rng(vocabulary)
    texts = [generator.integers(vocabulary, size=generator.integers(1, 12)).tolist() for _ in range(14)]
    words = [" ".join(map(str, text)) for text in texts]
    expected = [
        bleu.sentence_score(word, words[:index] + words[index + 1 :]).score / 100 for index, word in enumerate(words)
    ]
    assert self_bleu(texts) == pytest.approx(sum(expected) / len(expected), abs=1e-9)
    assert 0 < self_bleu(texts) < 1


def test_self_bleu_of_the_same_text_is_one_and_of_texts_with_nothing_in_common_zero() -> None:
    assert self_bleu([[1, 2, 3, 4, 5]] * 3) == pytest.approx(1.0)
    assert self_bleu([[1, 2, 3], [4, 5], [6]]) == 0.0
    assert self_bleu([[], [1]]) == 0.0
    assert self_bleu([[1, 2]]) == 0.0
    assert self_bleu([]) == 0.0
