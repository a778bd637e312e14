"""The reward of the reference task: its formula, and what its package imports."""

import itertools
import pickle
import subprocess
import sys

import pytest

from textgym.reward_protocol import score_completions
from textgym.rewards import BannedWords, Keywords, LengthWindow, reference_task
from textgym.rewards.reference_task import (
    REFERENCE_BANNED_WORDS,
    REFERENCE_KEYWORDS,
    REFERENCE_LENGTH,
    REFERENCE_MARGIN,
)


def test_the_formula_is_that_of_the_documentation() -> None:
    keywords, banned = Keywords(REFERENCE_KEYWORDS), BannedWords(REFERENCE_BANNED_WORDS)
    assert reference_task == 0.5 * keywords + 0.25 * (1 - banned) + 0.25 * LengthWindow(
        *REFERENCE_LENGTH, margin=REFERENCE_MARGIN
    )
    assert eval(repr(reference_task)) == reference_task
    assert pickle.loads(pickle.dumps(reference_task)) == reference_task


def test_scores_by_hand() -> None:
    minimum, maximum = REFERENCE_LENGTH
    texts = [
        " nothing to see",
        " Python and machine learning",
        f" Python and {REFERENCE_BANNED_WORDS[0]}",
        f" {REFERENCE_BANNED_WORDS[-1]}",
    ]
    lengths = [0, minimum, maximum, 2 * maximum]
    result = score_completions(reference_task, ["The"] * 4, texts, {}, [[3] * length for length in lengths])
    assert result.terms == {
        "keywords": [0.0, 1.0, 0.5, 0.0],
        "banned_words": [0.0, 0.0, 1.0, 1.0],
        "length_window": [0.0, 1.0, 1.0, 0.0],
    }
    assert result.scores == [0.25, 1.0, 0.5, 0.0]


def test_scores_lie_between_0_and_1() -> None:
    words = ["", *REFERENCE_KEYWORDS, *REFERENCE_BANNED_WORDS, "机器学习"]
    texts = [f"{one} {other}" for one, other in itertools.product(words, repeat=2)]
    token_ids = [[3] * (index % 100) for index in range(len(texts))]
    scores = score_completions(reference_task, ["The"] * len(texts), texts, {}, token_ids).scores
    assert 0 <= min(scores) <= max(scores) <= 1


@pytest.mark.smoke
def test_the_rewards_import_neither_torch_nor_transformers() -> None:
    code = "import sys, textgym.rewards; print({'torch', 'transformers'} & set(sys.modules) or 'neither')"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "neither"
