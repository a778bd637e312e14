"""What `textgym reward-model` prints: how well a model agrees with people, beside how well they agree themselves."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textgym.rewards.learned import Evaluation, Feedback


def report_evaluation(evaluation: "Evaluation", feedback: "Feedback", picture: Path | None, kind: str) -> None:
    """Print the figures as a table, beside a human's where there are some, and draw the reliability diagram.

    Args:
        evaluation: The figures.
        feedback: What they were measured on.
        picture: PNG file of the diagram; None draws none.
        kind: What to call the model.
    """
    from rich.console import Console
    from rich.table import Table

    from textgym.rewards.learned import draw_reliability

    table = Table(title=f"{kind}, on {len(feedback):,} held-out ratings and pairs")
    table.add_column("figure")
    table.add_column("model", justify="right")
    if evaluation.human is not None:
        table.add_column("one rater against the others", justify="right")
    for name, figure, human in evaluation.rows():
        cells = [name, _form(figure), *([_form(human)] if evaluation.human is not None else [])]
        table.add_row(*cells)
    Console().print(table)
    if picture is not None and evaluation.calibration is not None:
        draw_reliability(evaluation.calibration, picture, f"Reliability of {kind}")
        say(f"reliability diagram: {picture}")


def _form(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.3f}"


def say(line: str) -> None:
    """Print a line as it is."""
    from rich.console import Console

    Console().print(line, soft_wrap=True, highlight=False, markup=False)
