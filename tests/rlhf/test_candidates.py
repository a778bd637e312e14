"""Which completions are asked about: those that models disagree on, new ones only, and none that is empty."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import run_command
from tests.rlhf.conftest import SETTINGS, write_config
from textgym.rewards.learned import EnsembleRewardModel, RidgeRewardModel
from textgym.rewards.learned.ensemble import EnsembleScores
from textgym.rlhf.annotators import Text
from textgym.rlhf.candidates import choose
from textgym.rlhf.settings import CollectionSettings

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


def test_more_are_written_than_asked_since_some_may_be_empty_or_alike() -> None:
    assert CollectionSettings().n_written(10, by_disagreement=True) == 40
    assert CollectionSettings().n_written(10, by_disagreement=False) == 20
    for by_disagreement in (True, False):
        assert CollectionSettings(candidates=500).n_written(10, by_disagreement) == 500


@pytest.mark.parametrize(
    ("feedback", "reward_model", "said"),
    [
        ({"completions": 9, "candidates": 30, "selection": "random"}, {"ensemble": None},
         "6 rather than 9 completions are asked about: no more of what was written is new, and can be told apart."),
        ({"completions": None, "comparisons": 9, "selection": "random"}, {"kind": "linear_preferences"},
         "3 rather than 9 comparisons are asked about: no more of what was written is new, and can be told apart."),
    ],
)  # fmt: skip
def test_fewer_than_were_wanted_is_said(
    workplace: Path, tiny_model: Path, feedback: dict[str, Any], reward_model: dict[str, Any], said: str
) -> None:
    """Of each of three prompts there are two completions, and one pair of them."""
    task = {"max_new_tokens": 1, "allowed_token_ids": [65, 66]}
    settings = {**SETTINGS["training"], "task": task}
    raters = {"people": {"per_item": 1}}
    write_config(
        workplace, tiny_model, feedback=feedback, reward_model=reward_model, training=settings, annotators=raters
    )
    result = run_command("rlhf", "loop.yaml")
    assert result.exit_code == 3, result.output
    assert said in result.output


def test_where_there_are_fewer_all_are_asked_and_one_is_too_few() -> None:
    before = [Text("p", text) for text in ("1", "9", "5")]
    assert asked(choose(CANDIDATES, 4, asked_before=before, model=None, seed=0)) == ["7", "3"]
    with pytest.raises(ValueError, match="Of 8 candidates only 1 are new and not empty; give more prompts"):
        choose(CANDIDATES, 4, asked_before=[*before, Text("p", "7")], model=None, seed=0)
