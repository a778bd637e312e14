"""Which completions are asked about: those that models disagree on, new ones only, and none that is empty."""

from collections.abc import Sequence

import numpy as np
import pytest

from textgym.rewards.learned import EnsembleRewardModel, RidgeRewardModel
from textgym.rewards.learned.ensemble import EnsembleScores
from textgym.rlhf.annotators import Text
from textgym.rlhf.candidates import choose

CANDIDATES = [Text("p", text) for text in ("1", "9", " ", "5", "9", "7", "8\0", "3")]


class ByNumber(EnsembleRewardModel):
    """Disagrees on a text by the number that it is."""

    def __init__(self) -> None:
        super().__init__([RidgeRewardModel(), RidgeRewardModel()])

    def score_members(self, prompts: Sequence[str], completions: Sequence[str]) -> EnsembleScores:
        """Give every text its number as disagreement."""
        numbers = np.array([float(text.strip("\0 ") or "99") for text in completions])
        return EnsembleScores(-numbers, numbers)


def asked(rows: list[dict[str, object]]) -> list[object]:
    return [row["completion"] for row in rows if row["is_asked"]]


def test_those_are_asked_that_models_disagree_on_most() -> None:
    rows = choose(CANDIDATES, 3, asked_before=[Text("p", "7")], model=ByNumber(), seed=0)
    assert [row["completion"] for row in rows] == [text.completion for text in CANDIDATES]
    assert asked(rows) == ["9", "5", "3"]
    assert rows[1]["disagreement"] == 9.0
    assert rows[1]["score"] == -9.0


def test_without_an_ensemble_any_are_asked_each_once() -> None:
    rows = choose(CANDIDATES, 4, asked_before=[], model=None, seed=0)
    assert len(set(asked(rows))) == 4
    assert set(asked(rows)) <= {"1", "9", "5", "7", "3"}
    draws = {tuple(asked(choose(CANDIDATES, 2, asked_before=[], model=None, seed=seed))) for seed in range(20)}
    assert len(draws) > 3
    assert "disagreement" not in rows[0]


def test_where_there_are_fewer_all_are_asked_and_one_is_too_few() -> None:
    before = [Text("p", text) for text in ("1", "9", "5")]
    assert asked(choose(CANDIDATES, 4, asked_before=before, model=None, seed=0)) == ["7", "3"]
    with pytest.raises(ValueError, match="Of 8 candidates only 1 are new and not empty; give more prompts"):
        choose(CANDIDATES, 4, asked_before=[*before, Text("p", "7")], model=None, seed=0)
