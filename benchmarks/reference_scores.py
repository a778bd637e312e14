"""Measure what random tokens and the untrained model score on a task, and write it into the task's docstring.

    python -m textgym.benchmarks.reference_scores --task TextGen-Copy-v0

The prompts are those of the evaluation, and tokens are sampled.
"""

import inspect
import re
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from textgym.agents import evaluate
from textgym.completion import TextGenCompletionVectorEnv
from textgym.task import TextTask
from textgym.task_card import RANDOM, UNTRAINED, TaskCard, read_card, task_ids
from textgym.training.run import prepare
from textgym.training.run_folder import RunFolder
from textgym.training.settings_file import build_settings


def measure(task_id: str, n_completions: int | None = None) -> dict[str, float]:
    """Return the mean score of random tokens and of the untrained model.

    Args:
        task_id: The task.
        n_completions: Completions of each; None for as many as `textgym train` evaluates.
    """
    settings = build_settings({"task": {"name": task_id}, "device": "cpu"})
    # The folder is only named: nothing is written before a run is executed.
    run = prepare(settings, RunFolder(Path("no run")))
    n = n_completions or settings.evaluation.eval_completions
    untrained = evaluate(run.policy, run.eval_task, n, seed=settings.evaluation.eval_seed).score
    return {RANDOM: random_score(run.eval_task, n), UNTRAINED: untrained}


def random_score(task: TextTask, n_completions: int) -> float:
    """Return the mean score of tokens drawn uniformly from the whole vocabulary."""
    env = TextGenCompletionVectorEnv(n_completions, task)
    env.reset(seed=0)
    tokens = np.random.default_rng(0).integers(task.vocab_size, size=(n_completions, task.max_new_tokens))
    *_, infos = env.step(tokens)
    return float(infos["score"].mean())


def write_scores(card: TaskCard, scores: dict[str, float]) -> None:
    """Put scores into the table of a task's docstring, in the file that it stands in.

    Raises:
        ValueError: If the table has no row of that name.
    """
    path = Path(inspect.getfile(card.env_class))
    content = path.read_text(encoding="utf-8")
    head, separator, body = content.partition(f"class {card.env_class.__name__}(")
    for policy, score in scores.items():
        # A tiny negative number would be written as -0.000.
        row = f"| {policy} | {round(score, 3) + 0.0:.3f} |"
        body, n_found = re.subn(rf"\| {re.escape(policy)} \| \S+ \|", row, body, count=1)
        if not n_found:
            raise ValueError(f"The docstring of {card.env_class.__name__} has no row | {policy} | ... |.")
    path.write_text(head + separator + body, encoding="utf-8")


def main(
    tasks: Annotated[list[str] | None, typer.Option("--task", help="Only this task; can be repeated.")] = None,
    completions: Annotated[int | None, typer.Option(help="Completions of each policy.", min=1)] = None,
) -> None:
    """Measure reference scores and write them into the docstrings of the tasks."""
    for task_id in tasks or task_ids():
        scores = measure(task_id, completions)
        write_scores(read_card(task_id), scores)
        print(task_id, {policy: round(score, 3) for policy, score in scores.items()}, flush=True)


if __name__ == "__main__":
    typer.run(main)
