"""The numbers of a report: a row for each algorithm on each task, and what holds over all tasks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import yaml

from textgym.task_card import UNTRAINED, TaskCard, read_card
from textgym.training.algorithms import ALGORITHMS
from textgym.training.settings_file import build_settings, write_settings

from .figures import by_algorithm
from .records import WITHOUT_EFFECT, Choice, RunRecord, flat_settings
from .statistics import Estimate, FloatArray, interquartile_mean, probability_of_improvement


@dataclass(frozen=True)
class Row:
    """One algorithm on one task.

    Attributes:
        task: The task.
        algorithm: The algorithm.
        seeds: Seeds of its finished runs.
        choice: How tokens are chosen in evaluations.
        tokens: Mean tokens trained on.
        before: Mean score before training.
        score: Interquartile mean of the scores after training.
        kl: Mean KL to the first model, in nats a completion; None without a reference.
        n_solved: Runs that reached the threshold in training; None where the task has none.
        tokens_to_threshold: Median tokens until then, where a run that did not counts as never; None for never.
        seconds_to_threshold: Likewise in seconds of training.
    """

    task: str
    algorithm: str
    seeds: list[int]
    choice: Choice
    tokens: float
    before: float
    score: Estimate
    kl: float | None
    n_solved: int | None
    tokens_to_threshold: float | None
    seconds_to_threshold: float | None


@dataclass(frozen=True)
class TextRow:
    """What the completions of one algorithm on one task are like after training, or those of the model before it.

    Attributes:
        task: The task.
        algorithm: The algorithm; "before training" for the first model, and how it chose tokens if it did not sample.
        is_greedy: Whether the completions always take the most probable token, or are sampled.
        figures: By name of a figure, see `TEXT_FIGURES`, its mean over the runs; None where it is not known of all.
        terms: Likewise of each term of the reward, by its name.
    """

    task: str
    algorithm: str
    is_greedy: bool
    figures: dict[str, float | None]
    terms: dict[str, float | None]

    @property
    def name(self) -> str:
        """Whose completions they are."""
        return f"{self.algorithm}, greedy" if self.is_greedy else self.algorithm


# What a report says of texts, and its name in evaluation.json.
TEXT_FIGURES = {
    "score": "score",
    "judge": "judge",
    "KL": "kl",
    "perplexity": "perplexity",
    "distinct-1": "distinct_1",
    "distinct-2": "distinct_2",
    "self-BLEU": "self_bleu",
    "tokens": "n_tokens",
    "ended": "ended_share",
    "completions": "n_completions",
}
BEFORE = "before training"
NOT_NAMED = "not named"


def card_of(task: str) -> TaskCard | None:
    """Return what a task says of itself; None for a name that is no registered task."""
    try:
        return read_card(task)
    except ValueError:
        return None


def summarise(records: Sequence[RunRecord]) -> list[Row]:
    """Return a row for each algorithm on each task, of finished runs, in the order in which they come."""
    rows = []
    for task in dict.fromkeys(record.task for record in records):
        card = card_of(task)
        for algorithm, runs in by_algorithm([one for one in records if one.task == task]).items():
            rows.append(_row(task, algorithm, runs, card.threshold if card else None))
    return rows


def differing_settings(runs: Sequence[RunRecord]) -> dict[str, list[Any]]:
    """Return those settings, by dotted names, in which runs that a row sums up are not alike, with their values.

    Seeds are meant to differ; where and how often a run was saved changes nothing. A run of another version, which does
    not name a setting, had its default, as it has where the run is gone on with; a setting that this version has not is
    compared among those runs alone that name it.
    """
    named = [flat_settings(run.settings) for run in runs]
    whole = [{**_defaults(run.settings), **own} for run, own in zip(runs, named, strict=True)]
    names = dict.fromkeys(name for own in named for name in own if name not in {"seed", *WITHOUT_EFFECT})
    differing = {}
    for name in names:
        values = [one[name] for one in whole if name in one]
        if any(value != values[0] for value in values):
            differing[name] = list(dict.fromkeys(repr(own[name]) if name in own else NOT_NAMED for own in named))
    return differing


def describe_texts(records: Sequence[RunRecord]) -> list[TextRow]:
    """Return what completions are like, of finished runs: for each task before training, then for each algorithm.

    Each has a row of sampled completions, and one of greedy ones where all its runs have written some. What takes the
    best token anyway has one row.
    """
    rows = []
    for task in dict.fromkeys(record.task for record in records):
        runs = [record for record in records if record.task == task]
        for choice in dict.fromkeys(run.choice for run in runs):
            name = BEFORE if choice == "sampled" else f"{BEFORE}, {choice}"
            rows += _text_rows(task, name, choice, [run.evaluation["before"] for run in runs if run.choice == choice])
        for algorithm, own in by_algorithm(runs).items():
            rows += _text_rows(task, algorithm, own[0].choice, [run.evaluation["after"] for run in own])
    return rows


def common_tasks(records: Sequence[RunRecord]) -> list[str]:
    """Return the tasks that all algorithms ran on."""
    algorithms = by_algorithm(records)
    return [
        task
        for task in dict.fromkeys(record.task for record in records)
        if all(any(run.task == task for run in runs) for runs in algorithms.values())
    ]


def over_tasks(records: Sequence[RunRecord]) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """Compare algorithms over the tasks that all of them ran on.

    Returns:
        Interquartile mean of normalised scores of each algorithm (0: the untrained model, 1: the best known score), and
        the probability that one beats another, by "A > B"; both are empty where no task is common to all.
    """
    algorithms, tasks = by_algorithm(records), common_tasks(records)
    if not tasks:
        return {}, {}
    scores = {
        name: [np.array([normalised(run) for run in runs if run.task == task]) for task in tasks]
        for name, runs in algorithms.items()
    }
    means = {name: interquartile_mean(values) for name, values in scores.items()}
    ranked = sorted(means, key=lambda name: -means[name].value)
    chances = {
        f"{first} > {second}": probability_of_improvement(scores[first], scores[second])
        for first, second in combinations(ranked, 2)
    }
    return {name: means[name] for name in ranked}, chances


def normalised(run: RunRecord) -> float:
    """Return a final score, 0 for the untrained model's and 1 for the best known; as it is where neither is known."""
    card = card_of(run.task)
    if card is None or not card.reference_scores:
        return run.final_score
    worst, best = card.reference_scores.get(UNTRAINED, 0.0), max(card.reference_scores.values())
    return (run.final_score - worst) / (best - worst) if best > worst else run.final_score


def _defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults of a run's settings, by dotted names, as plain data."""
    name = settings["algorithm"]["name"]
    given = {"algorithm": {"name": name}} if name in ALGORITHMS else {}
    return flat_settings(yaml.safe_load(write_settings(build_settings(given))))


def _row(task: str, algorithm: str, runs: Sequence[RunRecord], threshold: float | None) -> Row:
    indices = [None if threshold is None else run.index_at(threshold) for run in runs]
    tokens = [math.inf if index is None else run.tokens[index] for run, index in zip(runs, indices, strict=True)]
    seconds = [math.inf if index is None else run.seconds[index] for run, index in zip(runs, indices, strict=True)]
    kl = [run.final_kl for run in runs if run.final_kl is not None]
    return Row(
        task=task,
        algorithm=algorithm,
        seeds=[run.seed for run in runs],
        choice=runs[0].choice,
        tokens=float(np.mean([run.evaluation["after"]["tokens"] for run in runs])),
        before=float(np.mean([run.evaluation["before"]["score"] for run in runs])),
        score=interquartile_mean([_scores(runs)]),
        kl=float(np.mean(kl)) if kl else None,
        n_solved=None if threshold is None else sum(index is not None for index in indices),
        tokens_to_threshold=_finite_median(tokens),
        seconds_to_threshold=_finite_median(seconds),
    )


def _finite_median(values: Sequence[float]) -> float | None:
    """Return a median; None where it is infinite or not known."""
    # Of an even number NumPy takes the mean of two, which infinity is too where one of them is.
    median = float(np.median(values))
    return median if math.isfinite(median) else None


def _text_rows(task: str, algorithm: str, choice: Choice, evaluations: Sequence[Mapping[str, Any]]) -> list[TextRow]:
    rows = [_text_row(task, algorithm, False, evaluations)]
    greedy = [one["greedy"] for one in evaluations if "greedy" in one]
    if len(greedy) == len(evaluations) and choice != "best tokens":
        rows.append(_text_row(task, algorithm, True, greedy))
    return rows


def _text_row(task: str, algorithm: str, is_greedy: bool, evaluations: Sequence[Mapping[str, Any]]) -> TextRow:
    figures = {name: _mean([one.get(key) for one in evaluations]) for name, key in TEXT_FIGURES.items()}
    names = dict.fromkeys(name for one in evaluations for name in one.get("terms", {}))
    terms = {name: _mean([one.get("terms", {}).get(name) for one in evaluations]) for name in names}
    return TextRow(task, algorithm, is_greedy, figures, terms)


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of a figure over runs; None where one of them, as of an older version, has not written it."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _scores(runs: Sequence[RunRecord]) -> FloatArray:
    return np.array([run.final_score for run in runs])
