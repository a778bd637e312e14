"""The numbers of a report: a row for each algorithm on each task, and what holds over all tasks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from textgym.task_card import UNTRAINED, TaskCard, read_card

from .figures import by_algorithm
from .records import RunRecord
from .statistics import Estimate, FloatArray, interquartile_mean, probability_of_improvement


@dataclass(frozen=True)
class Row:
    """One algorithm on one task.

    Attributes:
        task: The task.
        algorithm: The algorithm.
        seeds: Seeds of its finished runs.
        before: Mean score before training.
        score: Interquartile mean of the scores after training.
        kl: Mean KL to the first model, in nats a completion; None without a reference.
        n_solved: Runs that reached the threshold in training; None where the task has none.
        tokens_to_threshold: Median tokens until then, of the runs that did; None where fewer than half did.
        seconds_to_threshold: Likewise in seconds of training.
    """

    task: str
    algorithm: str
    seeds: list[int]
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
        algorithm: The algorithm; "before training" for the first model.
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
}
BEFORE = "before training"


def card_of(task: str) -> TaskCard | None:
    """Return what a task says of itself; None for a name that is no registered task."""
    try:
        return read_card(task)
    except ValueError:
        return None


def summarise(records: Sequence[RunRecord]) -> list[Row]:
    """Return a row for each algorithm on each task, of finished runs."""
    rows = []
    for task in dict.fromkeys(record.task for record in records):
        card = card_of(task)
        for algorithm, runs in by_algorithm([one for one in records if one.task == task]).items():
            rows.append(_row(task, algorithm, runs, card.threshold if card else None))
    return rows


def describe_texts(records: Sequence[RunRecord]) -> list[TextRow]:
    """Return what completions are like, of finished runs: for each task before training, then for each algorithm.

    Each has a row of sampled completions, and one of greedy ones where all its runs have written some.
    """
    rows = []
    for task in dict.fromkeys(record.task for record in records):
        runs = [record for record in records if record.task == task]
        rows += _text_rows(task, BEFORE, [run.evaluation["before"] for run in runs])
        for algorithm, own in by_algorithm(runs).items():
            rows += _text_rows(task, algorithm, [run.evaluation["after"] for run in own])
    return rows


def over_tasks(records: Sequence[RunRecord]) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """Compare algorithms over the tasks that all of them ran on.

    Returns:
        Interquartile mean of normalised scores of each algorithm (0: the untrained model, 1: the best known score), and
        the probability that one beats another, by "A > B"; both are empty where no task is common to all.
    """
    algorithms = by_algorithm(records)
    tasks = [
        task
        for task in dict.fromkeys(record.task for record in records)
        if all(any(run.task == task for run in runs) for runs in algorithms.values())
    ]
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


def _row(task: str, algorithm: str, runs: Sequence[RunRecord], threshold: float | None) -> Row:
    indices = [None if threshold is None else run.index_at(threshold) for run in runs]
    solved = [(run, index) for run, index in zip(runs, indices, strict=True) if index is not None]
    is_usual = len(solved) * 2 >= len(runs) and bool(solved)
    seconds = [float(run.seconds[index]) for run, index in solved]
    kl = [run.final_kl for run in runs if run.final_kl is not None]
    return Row(
        task=task,
        algorithm=algorithm,
        seeds=[run.seed for run in runs],
        before=float(np.mean([run.evaluation["before"]["score"] for run in runs])),
        score=interquartile_mean([_scores(runs)]),
        kl=float(np.mean(kl)) if kl else None,
        n_solved=None if threshold is None else len(solved),
        tokens_to_threshold=float(np.median([run.tokens[index] for run, index in solved])) if is_usual else None,
        seconds_to_threshold=float(np.median(seconds)) if is_usual and not math.isnan(sum(seconds)) else None,
    )


def _text_rows(task: str, algorithm: str, evaluations: Sequence[Mapping[str, Any]]) -> list[TextRow]:
    rows = [_text_row(task, algorithm, False, evaluations)]
    greedy = [one["greedy"] for one in evaluations if "greedy" in one]
    if len(greedy) == len(evaluations):
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
