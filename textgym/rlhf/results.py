"""The figures of all rounds of a loop, as far as it has come."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from textgym.training.run_folder import read_json

from .folder import LoopFolder

# Number of a round, and a figure.
Points: TypeAlias = list[tuple[int, float]]
ACCURACIES = {
    "reward model": ("model", "pairwise_accuracy"),
    "one rater": ("rater", "pairwise_accuracy"),
    "reward model, comparisons": ("comparisons", "accuracy"),
}


def read_results(folder: LoopFolder, n_rounds: int, annotators: str) -> dict[str, Any]:
    """Return a loop's figures as plain data.

    Args:
        folder: The loop's folder.
        n_rounds: Rounds that there will be.
        annotators: Who rates, in words.

    Returns:
        `annotators`; `people` (how simulated ones are spread, and agree with real ones; None for others); and for each
        round that has begun to be judged its `round` number, its `judgement` (see `reward_learning.judge`) and its
        `evaluation` (see `finetuning.evaluate_policy`), without samples; None before it is there.
    """
    people = None
    if folder.people.is_dir():
        people = read_json(folder.people / "reward_model.json")["record"]["people"]
    rounds = []
    for number in range(1, n_rounds + 1):
        one = folder.round(number)
        if not one.judgement.is_file():
            break
        evaluation = read_json(one.evaluation) if one.evaluation.is_file() else None
        if evaluation is not None:
            del evaluation["samples"]
        rounds.append({"round": number, "judgement": read_json(one.judgement), "evaluation": evaluation})
    return {"annotators": annotators, "people": people, "rounds": rounds}


def true_by_round(results: dict[str, Any]) -> list[tuple[float, float | None]]:
    """Return true score and standard error before the first round and after each; [] where nobody knows them."""
    evaluations = [one["evaluation"] for one in results["rounds"] if one["evaluation"] is not None]
    phases = [evaluation["before"] for evaluation in evaluations[:1]] + [one["after"] for one in evaluations]
    return [(phase["true_score"], phase["true_error"]) for phase in phases if phase["true_score"] is not None]


def known_by_round(rounds: Sequence[dict[str, Any]], *place: str) -> Points:
    """Return number and figure of each round that has one at a place: `"judgement", "model", "pearson"`."""
    points = []
    for one in rounds:
        found: Any = one
        for name in place:
            found = None if found is None else found.get(name)
        if found is not None:
            points.append((one["round"], found))
    return points


def accuracies_by_round(results: dict[str, Any]) -> dict[str, Points]:
    """Return the shares of pairs of new feedback in the right order, by whom, those that are known of any round."""
    found = {who: known_by_round(results["rounds"], "judgement", *place) for who, place in ACCURACIES.items()}
    return {who: points for who, points in found.items() if points}
