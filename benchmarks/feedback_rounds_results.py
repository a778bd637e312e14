"""What three rounds of feedback and one came to over several seeds: the claims, the means and the figure."""

import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from textgym.rlhf.figures import draw_true_scores
from textgym.rlhf.results import true_by_round
from textgym.training.curves import COLOURS

LABELS = {"three_rounds": "three rounds", "one_round": "one round, as many ratings and tokens"}
MEASURES = ("true_score", "kl", "distinct_2", "score")


def summarise(seeds: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Return what is to be shown: whether the true score rises at each round, and whether three rounds beat one.

    Args:
        seeds: For each seed the results (`textgym.rlhf.results.read_results`) of `three_rounds` and `one_round`.

    Returns:
        `mean`, with both claims for the mean over seeds, `ahead` (how much higher the true score is after three rounds
        than after one) and of each of `loops` its measures before the first round and after each, as `mean` and
        standard deviation `std`, None of a single seed; and `seeds`, with both claims and the true scores of each.
    """
    figures = {name: _over_seeds([one[name] for one in seeds.values()]) for name in LABELS}
    means = {name: [phase["mean"] for phase in figures[name]["true_score"]] for name in LABELS}
    rows = [
        {"seed": seed} | _claims({name: [score for score, _ in true_by_round(one[name])] for name in LABELS})
        for seed, one in seeds.items()
    ]
    ahead = [row["true_scores"]["three_rounds"][-1] - row["true_scores"]["one_round"][-1] for row in rows]
    return {"mean": _claims(means) | {"ahead": _mean_and_std(ahead), "loops": figures}, "seeds": rows}


def _claims(scores: dict[str, list[float]]) -> dict[str, Any]:
    rounds = scores["three_rounds"]
    return {
        "true_scores": scores,
        "rises_at_every_round": all(after > before for before, after in itertools.pairwise(rounds)),
        "beats_one_round": rounds[-1] > scores["one_round"][-1],
    }


def _over_seeds(loops: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return mean and standard deviation over seeds of a loop's measures, before its first round and after each."""
    phases = list(zip(*([one["rounds"][0]["evaluation"]["before"], *_after(one)] for one in loops), strict=True))
    return {name: [_mean_and_std([seed[name] for seed in phase]) for phase in phases] for name in MEASURES}


def _mean_and_std(values: Sequence[float]) -> dict[str, Any]:
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else None}


def _after(results: dict[str, Any]) -> list[dict[str, Any]]:
    return [one["evaluation"]["after"] for one in results["rounds"]]


def draw(seeds: dict[int, dict[str, dict[str, Any]]], picture: Path) -> None:
    """Draw the true score of both loops over the tokens of training, and over KL: thin each seed, thick their mean."""
    figure = Figure(figsize=(11, 4), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    for (name, label), colour in zip(LABELS.items(), COLOURS, strict=False):
        loops = [one[name] for one in seeds.values()]
        scores = [[score for score, _ in true_by_round(results)] for results in loops]
        means = [_mean_and_std(phase) for phase in zip(*scores, strict=True)]
        points = [(one["mean"], None if one["std"] is None else one["std"] / len(loops) ** 0.5) for one in means]
        for axes, along in ((left, _tokens), (right, _kl)):
            places = [along(results) for results in loops]
            for at, height in zip(places, scores, strict=True):
                axes.plot(at, height, color=colour, linewidth=0.9, alpha=0.5)
            middle = [statistics.fmean(phase) for phase in zip(*places, strict=True)]
            draw_true_scores(axes, points, label, colour=colour, places=middle)
    _dress(left, "tokens of training", "true rating, −4 to 4")
    _dress(right, "KL to the first model, nats a completion", "true rating, −4 to 4")
    left.legend(frameon=False, fontsize=9)
    figure.suptitle("What simulated film raters think of the policy, on held-out prompts", fontsize=12)
    figure.savefig(picture, dpi=130, format="png")


def _kl(results: dict[str, Any]) -> list[float]:
    """Return KL before the first round, where it is 0, and after each."""
    return [0.0, *(after["kl"] for after in _after(results))]


def _tokens(results: dict[str, Any]) -> list[float]:
    """Return the tokens of training before the first round and after each."""
    return [0, *itertools.accumulate(after["tokens"] for after in _after(results))]


def _dress(axes: Axes, label: str, height: str) -> None:
    axes.set_xlabel(label)
    axes.set_ylabel(height)
    axes.grid(alpha=0.25, linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
