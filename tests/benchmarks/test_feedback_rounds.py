"""The comparison of three rounds of feedback with one: what is compared, and what is said of it."""

from pathlib import Path
from typing import Any

import pytest

from textgym.benchmarks.feedback_rounds import (
    draw,
    film_prompts,
    held_out_film_prompts,
    loop_settings,
    summarise,
)
from textgym.prompts import load_prompts


def results(*true_scores: float) -> dict[str, Any]:
    """A loop's figures, whose true scores before and after each round are these."""
    phases = [
        {"true_score": score, "true_error": 0.05, "kl": 2.0 * number, "tokens": 1000}
        for number, score in enumerate(true_scores)
    ]
    rounds = [
        {"round": number, "evaluation": {"before": phases[number - 1], "after": phases[number]}}
        for number in range(1, len(phases))
    ]
    return {"rounds": rounds}


def test_both_loops_have_as_many_ratings_and_tokens(tmp_path: Path) -> None:
    three, one = (
        loop_settings(
            tmp_path, tmp_path / "r.tsv", "encoder", n, completions=600, tokens=75_000, kl_coef=0.1,
            eval_completions=9, seed=2,
        )
        for n in (3, 1)
    )  # fmt: skip
    for loop in (three, one):
        assert loop.rounds * loop.feedback.completions == 600
        assert loop.rounds * loop.train_settings(model="bundled", seed=1).total_tokens == 75_000
    assert three.annotators == one.annotators
    assert three.reward_model == one.reward_model


def test_the_policy_is_judged_on_prompts_that_it_was_not_trained_on() -> None:
    assert len(film_prompts()) == 75
    assert len(held_out_film_prompts()) == 25
    assert not set(film_prompts()) & set(held_out_film_prompts())
    assert load_prompts("textgym.benchmarks.feedback_rounds:film_prompts")[0] == (film_prompts()[0], {})


@pytest.mark.parametrize(
    ("three", "one", "rises", "beats"),
    [
        ((0.1, 0.2, 0.3, 0.4), (0.1, 0.3), True, True),
        ((0.1, 0.3, 0.2, 0.4), (0.1, 0.5), False, False),
        ((0.1, 0.2, 0.3, 0.3), (0.1, 0.3), False, False),
    ],
)
def test_what_is_said_of_both(three: tuple[float, ...], one: tuple[float, ...], rises: bool, beats: bool) -> None:
    summary = summarise({"three_rounds": results(*three), "one_round": results(*one)})
    assert summary["true_scores"] == {"three_rounds": list(three), "one_round": list(one)}
    assert (summary["rises_at_every_round"], summary["beats_one_round"]) == (rises, beats)


def test_the_figure_is_drawn(tmp_path: Path) -> None:
    draw({"three_rounds": results(0.1, 0.2, 0.3, 0.4), "one_round": results(0.1, 0.3)}, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
