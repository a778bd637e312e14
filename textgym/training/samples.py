"""Completions as a run keeps them: what was written at which number of tokens, and what it was worth."""

from collections.abc import Sequence
from typing import Any

from textgym.agents import Evaluation
from textgym.task import TextTask


def to_samples(evaluation: Evaluation, n_tokens: int, phase: str) -> list[dict[str, Any]]:
    """Return an evaluation's completions as plain data.

    Args:
        evaluation: What was generated.
        n_tokens: Tokens that the model had been trained on.
        phase: `"before"`, `"training"` or `"after"`.
    """
    return [
        {
            "tokens": n_tokens,
            "phase": phase,
            "prompt": item.episode.text.prompt.text,
            "completion": item.episode.text.text,
            "finish_reason": item.episode.text.finish_reason,
            "n_tokens": len(item.episode.text.token_ids),
            "score": item.judgement.score,
            "terms": item.judgement.terms,
        }
        for item in evaluation.episodes
    ]


def spread_out(n_items: int, n_wanted: int) -> list[int]:
    """Choose positions evenly from a sequence, so that each part of it is represented.

    Example:
        >>> spread_out(100, 4)
        [0, 25, 50, 75]
    """
    n_wanted = min(n_items, n_wanted)
    return [position * n_items // n_wanted for position in range(n_wanted)]


def prompt_rows(task: TextTask, positions: Sequence[int]) -> list[dict[str, Any]]:
    """Return some of a task's prompts, with their columns, as another task takes them."""
    prompts = [task.prompts[position] for position in positions]
    return [{**prompt.columns, "prompt": prompt.text} for prompt in prompts]
