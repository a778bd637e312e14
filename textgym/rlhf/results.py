"""The figures of all rounds of a loop, as far as it has come."""

from typing import Any

from textgym.training.run_folder import read_json

from .folder import LoopFolder


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
