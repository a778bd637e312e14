"""`textgym tasks`: what there is to train on, and what is known of it."""

from typing import TYPE_CHECKING, Annotated

import typer

from .errors import checked_input
from .own_modules import find_own_modules

if TYPE_CHECKING:
    from rich.console import Console

    from textgym.task_card import TaskCard


def tasks(
    name: Annotated[str | None, typer.Argument(help="Show all that is known of this task.")] = None,
) -> None:
    """List the registered tasks with their reference scores, or describe one.

    For example:

    ```
    textgym tasks
    textgym tasks TextGen-Copy-v0
    textgym train --task TextGen-Copy-v0
    ```
    """
    from rich.markdown import Markdown

    from textgym.task_card import read_card, task_ids
    from textgym.training.report import report_console

    if name is None:
        _print_table([read_card(task_id) for task_id in task_ids()], report_console())
        return
    find_own_modules()
    with checked_input():
        card = read_card(name)
    report_console().print(Markdown(f"# {card.id}\n\n{card.description}"))


def _print_table(cards: "list[TaskCard]", console: "Console") -> None:
    from rich.table import Table

    from textgym.task_card import RANDOM, UNTRAINED

    table = Table(caption="scores of random tokens, of the untrained model, the best known, and when it is solved")
    table.add_column("task", no_wrap=True)
    table.add_column("what it asks")
    for heading in ("random", "untrained", "best\nknown", "solved"):
        table.add_column(heading, justify="right")
    for card in cards:
        scores = card.reference_scores
        numbers = [scores.get(RANDOM), scores.get(UNTRAINED), max(scores.values(), default=None), card.threshold]
        table.add_row(card.id, card.summary, *("-" if number is None else f"{number:.2f}" for number in numbers))
    console.print(table)
