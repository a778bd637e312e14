"""The comparison of three rounds of feedback with one: what is compared, what is said of it, and in miniature."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.rewards.learned.makers import rated_films, save_tiny_encoder
from textgym.benchmarks import feedback_rounds
from textgym.benchmarks.feedback_rounds import film_prompts, held_out_film_prompts, loop_settings, main
from textgym.benchmarks.feedback_rounds_results import draw, summarise
from textgym.prompts import load_prompts


def results(*true_scores: float) -> dict[str, Any]:
    """A loop's figures, whose true scores before and after each round are these."""
    phases = [
        {"true_score": score, "true_error": 0.05, "kl": 2.0 * number, "tokens": 1000, "distinct_2": 0.8, "score": 0.5}
        for number, score in enumerate(true_scores)
    ]
    rounds = [
        {"round": number, "evaluation": {"before": phases[number - 1], "after": phases[number]}}
        for number in range(1, len(phases))
    ]
    return {"rounds": rounds}


TWO_SEEDS = {
    1: {"three_rounds": results(0.1, 0.3, 0.9, 1.6), "one_round": results(0.1, 0.8)},
    2: {"three_rounds": results(0.1, 0.5, 0.3, 0.4), "one_round": results(0.1, 0.8)},
}


def test_both_loops_have_as_many_ratings_and_tokens(tmp_path: Path) -> None:
    three, one = (
        loop_settings(
            tmp_path, tmp_path / "r.tsv", "encoder", n, completions=600, tokens=75_000, kl_coef=0.1,
            eval_completions=9, seed=2,
        )
        for n in (3, 1)
    )  # fmt: skip
    for loop in (three, one):
        assert loop.feedback.completions is not None
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
def test_what_is_said_of_a_seed(three: tuple[float, ...], one: tuple[float, ...], rises: bool, beats: bool) -> None:
    summary = summarise({7: {"three_rounds": results(*three), "one_round": results(*one)}})
    assert summary["seeds"] == [
        {
            "seed": 7,
            "true_scores": {"three_rounds": list(three), "one_round": list(one)},
            "rises_at_every_round": rises,
            "beats_one_round": beats,
        }
    ]
    assert (summary["mean"]["rises_at_every_round"], summary["mean"]["beats_one_round"]) == (rises, beats)
    assert summary["mean"]["ahead"] == {"mean": pytest.approx(three[-1] - one[-1]), "std": None}


def test_the_mean_may_keep_what_a_seed_does_not() -> None:
    summary = summarise(TWO_SEEDS)
    assert [seed["rises_at_every_round"] for seed in summary["seeds"]] == [True, False]
    assert [seed["beats_one_round"] for seed in summary["seeds"]] == [True, False]
    mean = summary["mean"]
    assert mean["true_scores"] == {
        "three_rounds": pytest.approx([0.1, 0.4, 0.6, 1.0]),
        "one_round": pytest.approx([0.1, 0.8]),
    }
    assert (mean["rises_at_every_round"], mean["beats_one_round"]) == (True, True)
    assert mean["ahead"] == {"mean": pytest.approx(0.2), "std": pytest.approx(1.2 / 2**0.5)}
    assert mean["loops"]["one_round"]["true_score"][1] == {"mean": pytest.approx(0.8), "std": pytest.approx(0)}
    assert mean["loops"]["three_rounds"]["kl"][2] == {"mean": 4.0, "std": 0.0}


def test_the_figure_is_drawn(tmp_path: Path) -> None:
    draw(TWO_SEEDS, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.slow
def test_loops_that_have_ended_are_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seeds in miniature, the second of them run later: each has loops of its own, the raters are the same."""
    monkeypatch.setattr(feedback_rounds, "RESULTS", tmp_path)
    encoder = save_tiny_encoder(tmp_path / "encoder", n_layers=3)
    ratings = tmp_path / "ratings.tsv"
    # Raters one apart, so that what they say of a text that the tiny encoder does not know differs, too.
    means = {one.completion: round(one.rating) for one in rated_films(40).ratings}
    rows = [f"movie\t{text}\t{mean - 1} {mean} {mean + 1}" for text, mean in means.items()]
    ratings.write_text("\n".join(["domain\ttext\tratings", *rows]) + "\n", encoding="utf-8")

    def run(seeds: str) -> dict[str, Any]:
        main(ratings, tmp_path / "runs", completions=24, tokens=30, eval_completions=2, seeds=seeds, encoder=encoder)
        record: dict[str, Any] = json.loads((tmp_path / "feedback_rounds.json").read_text(encoding="utf-8"))
        return record

    first = run("1")
    trained = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("training.json")}
    assert len(trained) == 3 + 1
    both = run("1,2")
    assert both["loops"]["1"] == first["loops"]["1"]
    assert all(path.stat().st_mtime_ns == at for path, at in trained.items())
    assert [row["seed"] for row in both["seeds"]] == [1, 2]
    one, two = (both["loops"][seed]["three_rounds"] for seed in ("1", "2"))
    assert one["people"] == two["people"]
    assert one["samples"]["after"] != two["samples"]["after"]
    assert [len(one["samples"][phase]) for phase in ("before", "after")] == [2, 2]
    assert both["command"].endswith("--seeds 1,2")
    assert str(tmp_path) not in both["command"]
