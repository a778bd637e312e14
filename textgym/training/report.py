"""What is printed at a run's end: completions before and after, figures before and after, and the final line."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from textgym.rendering import without_controls
from textgym.reward_protocol import Reward

WIDTH = 100  # columns; what is wider is harder to read


def report_console() -> Console:
    """Return the console to print on: as wide as the terminal; in a file or pipe, which has no width, 100 columns."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def describe_reward(reward: Reward) -> str:
    """Return a reward as it would be typed; of a plain function, whose repr is an address, the name."""
    return f"{reward.__module__}:{reward.__qualname__}" if inspect.isfunction(reward) else repr(reward)


def print_completions(console: Console, pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
    """Print the completions of the same prompts before and after, each pair two samples of one prompt."""
    table = Table(show_lines=True, width=min(console.width, WIDTH))
    table.add_column("prompt", ratio=22, style="cyan")
    for name in ("before", "after"):
        table.add_column(name, ratio=34)
        table.add_column("score", justify="right", no_wrap=True, min_width=5)
    for before, after in pairs:
        cells: list[Text] = [Text(before["prompt"])]
        for sample in (before, after):
            cells += [Text(readable(sample["completion"])), Text(f"{sample['score']:.2f}")]
        table.add_row(*cells)
    console.print(table)


def print_figures(console: Console, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Print the figures of both evaluations, and those after training for each prompt topic."""
    topics = after["topics"]
    caption = "on the right: after, by prompt topic" if topics else None
    table = Table(width=min(console.width, WIDTH), caption=caption, caption_justify="right")
    table.add_column("", ratio=2)
    for name in ("before", "after"):
        table.add_column(name, justify="right", min_width=6)
    for topic in topics:
        table.add_column(topic, justify="right", ratio=1)
    rows = [("score", before["score"], after["score"], [topics[topic]["score"] for topic in topics])]
    for name, value in after["terms"].items():
        cells = [topics[topic]["terms"][name] for topic in topics]
        rows.append((name.replace("_", " "), before["terms"].get(name), value, cells))
        if name in after["share_of_ones"] and value not in (0.0, after["share_of_ones"][name]):
            ones = (before["share_of_ones"].get(name), after["share_of_ones"][name])
            rows.append(("  share where it is 1", *ones, []))
    blank: list[float | None] = []
    if after["judge"] is not None:
        rows.append(("the judge's score", before["judge"], after["judge"], blank))
    rows += [
        ("score of greedy texts", before["greedy"]["score"], after["greedy"]["score"], blank),
        ("KL, nats per completion", before["kl"], after["kl"], blank),
        ("tokens per completion", before["n_tokens"], after["n_tokens"], blank),
        ("ended before the budget", before["ended_share"], after["ended_share"], blank),
        ("distinct tokens", before["distinct_1"], after["distinct_1"], blank),
        ("distinct pairs of tokens", before["distinct_2"], after["distinct_2"], blank),
        ("self-BLEU", before["self_bleu"], after["self_bleu"], blank),
        ("perplexity, first model", before["perplexity"], after["perplexity"], blank),
    ]
    for label, old, new, cells in rows:
        padded = [*cells, *[None] * (len(topics) - len(cells))]
        missing = "" if not cells else "-"
        table.add_row(label, _number(old), _number(new), *(_number(cell, missing) for cell in padded))
    console.print(table)


def final_line(before: Mapping[str, Any], after: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """Return the run's result in one line.

    Args:
        before: Figures before.
        after: Figures after.
        about: `n_completions`, `held_out` and `tokens_per_second`, as in evaluation.json.
    """
    kind = "held-out completions" if about["held_out"] else "completions of the training prompts"
    parts = [f"score {before['score']:.3f} → {after['score']:.3f} on {about['n_completions']} {kind}"]
    if after["kl"] is not None:
        parts.append(f"KL {after['kl']:.2f} nats per completion")
    if about["tokens_per_second"] is not None:
        parts.append(f"{about['tokens_per_second']:,.0f} tokens/s")
    return " · ".join(parts)


def readable(text: str) -> str:
    """Return a completion on one line."""
    return without_controls(text).replace("\n", " ⏎ ").strip()


def _number(value: float | None, missing: str = "-") -> str:
    if value is None:
        return missing
    # Rounded first, and 0 added, so that no tiny negative number becomes -0.000.
    return f"{value:.1f}" if abs(value) >= 10 else f"{round(value, 3) + 0.0:.3f}"
