"""A learned reward and its judges, and a run in miniature that they watch."""

import csv
import json
from pathlib import Path

import pytest

from textgym.benchmarks.over_optimisation import Judges, Texts, draw, film_prompts, main, parting
from textgym.benchmarks.reward_models import read_domain

GOOD = ["a lovely, warm film", "wonderful and moving", "great fun, and lovely songs", "a great and moving story"]
BAD = ["a dull, cold film", "boring and stupid", "awful songs, and no fun", "a dreadful and boring story"]


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    """Thirty-two snippets of film reviews, good ones and bad ones, by three raters each."""
    path = tmp_path / "ratings.tsv"
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        table.writerow(["domain", "text", "ratings"])
        for number in range(4):
            table.writerows([["movie", f"{text} {number}", "3 4 3"] for text in GOOD])
            table.writerows([["movie", f"{text} {number}", "-3 -4 -3"] for text in BAD])
    return path


def test_all_three_prefer_good_reviews_and_are_scaled_by_the_untrained_model(ratings: Path) -> None:
    pytest.importorskip("vaderSentiment", reason="VADER is not installed")
    mixed = Texts([""] * 8, GOOD + BAD)
    judges = Judges(read_domain(ratings, "movie"), mixed, seed=0)
    good, bad = judges(Texts([""] * 4, GOOD)), judges(Texts([""] * 4, BAD))
    assert all(good[name] > 0.5 > -0.5 > bad[name] for name in ("reward", "judge", "vader"))
    assert judges(mixed) == {name: pytest.approx(0, abs=1e-6) for name in ("reward", "judge", "vader")}


def test_the_prompts_open_texts_on_films_and_the_held_out_ones_are_others() -> None:
    training, held_out = film_prompts("bundled"), film_prompts("bundled:held_out")
    assert len(training) == 3 * len(held_out)
    assert not set(training) & set(held_out)


def test_a_judge_parts_from_the_reward_where_it_gains_less_than_a_quarter_of_its_gain(tmp_path: Path) -> None:
    rows = [
        {"tokens": tokens, "kl": kl, "reward": reward, "judge": judge, "vader": reward}
        for tokens, kl, reward, judge in [
            (0, -0.1, 0.0, 0.0),
            (1, 2.0, 1.0, 0.9),
            (2, 9.0, 2.0, 1.2),
            (3, 20.0, 4.0, 1.6),
        ]
    ]
    assert parting(rows, "judge")["tokens"] == 2
    assert parting(rows, "vader")["tokens"] == 3
    draw({1: rows, 2: rows[:2]}, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_run_in_miniature_is_watched_from_before_the_first_update_to_after_the_last(
    ratings: Path, tmp_path: Path
) -> None:
    pytest.importorskip("vaderSentiment", reason="VADER is not installed")
    main(ratings, tokens=4_000, seeds="1", every=1_000, completions=10, output=tmp_path / "results", threads=1)
    record = json.loads((tmp_path / "results" / "over_optimisation.json").read_text(encoding="utf-8"))
    first, *_, last = record["runs"]["1"]
    assert first["tokens"] == 0
    assert first["kl"] == pytest.approx(0, abs=1e-3)
    assert last["tokens"] >= 4_000
    assert last["kl"] > 0
    assert len(last["samples"]) == 4
