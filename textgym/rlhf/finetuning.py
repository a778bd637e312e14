"""Fine-tuning within a round, and what came of it: score, true score and KL of the same prompts' completions."""

import statistics
import time
from typing import Any

from rich.console import Console

from textgym.training.run import execute, prepare
from textgym.training.run_folder import RunFolder, write_json
from textgym.training.settings import TrainSettings

from .annotators import Annotators, Text
from .folder import RoundFolder


def fine_tune_policy(settings: TrainSettings, folder: RoundFolder, console: Console) -> None:
    """Train the policy, or go on with its training from the last checkpoint, and write down that it has ended.

    Raises:
        TrainingStopped: If a signal asked to stop; all is saved then.
        ValueError: If another process trains in the folder.
    """
    run = RunFolder(folder.run)
    started = time.monotonic()
    with run.held():
        written = run.read_evaluation()
        if written.pop("after", None) is not None:
            # Killed after the last evaluation: what came behind it is made again.
            write_json(run.evaluation, written)
        execute(prepare(settings, run), console)
    write_json(folder.training, {"seconds": time.monotonic() - started})


def evaluate_policy(folder: RoundFolder, annotators: Annotators) -> dict[str, Any]:
    """Return the figures of a round's training.

    Returns:
        `before` and `after`, each with `score` (by the round's reward model), `true_score` and its standard error
        `true_error` (None where nobody knows), `kl` to the loop's first model, `n_tokens`, `ended_share`, `distinct_2`
        and `tokens` of training; and likewise `samples` of both: prompt, completion, score and true score.
    """
    run = RunFolder(folder.run)
    figures, samples = run.read_evaluation(), run.read_samples()
    names = ("tokens", "score", "kl", "n_tokens", "ended_share", "distinct_2")
    evaluation: dict[str, Any] = {"samples": {}}
    for phase in ("before", "after"):
        rows = [one for one in samples if one["phase"] == phase]
        true_scores = annotators.true_scores([Text(one["prompt"], one["completion"]) for one in rows])
        evaluation[phase] = {name: figures[phase][name] for name in names} | _true(true_scores)
        evaluation["samples"][phase] = [
            {name: row[name] for name in ("prompt", "completion", "score")}
            | {"true_score": None if true_scores is None else true_scores[index]}
            for index, row in enumerate(rows)
        ]
    return evaluation


def _true(scores: list[float] | None) -> dict[str, float | None]:
    if scores is None:
        return {"true_score": None, "true_error": None}
    error = statistics.stdev(scores) / len(scores) ** 0.5 if len(scores) > 1 else None
    return {"true_score": statistics.fmean(scores), "true_error": error}
