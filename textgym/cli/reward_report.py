"""What `textgym reward-model` prints: how well a model agrees with people, beside how well they agree themselves."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textgym.rewards.learned import Evaluation, Feedback, RewardModel


def check_picture(picture: Path) -> None:
    """Check that a picture can be written there, before anything is computed for it.

    Raises:
        ValueError: If its name does not end in .png, it is a folder, or there is no such folder.
    """
    if picture.suffix.lower() != ".png":
        raise ValueError(f"--picture must be a .png file, got {str(picture)!r}.")
    if picture.is_dir() or not picture.parent.is_dir():
        raise ValueError(
            f"--picture must be a file in a folder that is there, got {str(picture)!r}; make the folder first."
        )


def report_evaluation(evaluation: "Evaluation", title: str, picture: Path | None) -> None:
    """Print the figures as a table, beside a human's where there are some, and draw the reliability diagram.

    Args:
        evaluation: The figures.
        title: Which model they are of, and what they were measured on.
        picture: PNG file of the diagram; None draws none.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from textgym.rewards.learned import draw_reliability

    table = Table(title=Text(title))
    table.add_column("figure")
    table.add_column("model", justify="right")
    if evaluation.human is not None:
        table.add_column("one rater against the others", justify="right")
    for name, figure, human in evaluation.rows():
        cells = [name, _form(figure), *([_form(human)] if evaluation.human is not None else [])]
        table.add_row(*cells)
    Console().print(table)
    if picture is None:
        return
    if evaluation.calibration is None:
        say("no reliability diagram: the model predicts nothing that this feedback tells")
        return
    draw_reliability(evaluation.calibration, picture, title)
    say(f"reliability diagram: {picture}")


def report_disagreement(model: "RewardModel", feedback: "Feedback") -> None:
    """Print how far an ensemble's members disagree; nothing for other models."""
    from textgym.rewards.learned import EnsembleRewardModel

    if isinstance(model, EnsembleRewardModel):
        disagreement = model.score_members(*feedback.texts()).disagreement.mean()
        say(
            f"The {len(model.members)} members' scores of a text lie {disagreement:.2f} apart on average (standard "
            f"deviation), of which {model.pessimism:g} times is subtracted."
        )


def count_feedback(feedback: "Feedback") -> str:
    """Return how many ratings and preferences there are, in words."""
    counts = {"rating": len(feedback.ratings), "preference": len(feedback.preferences)}
    return " and ".join(f"{count:,} {what}{'s' if count > 1 else ''}" for what, count in counts.items() if count)


def _form(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.3f}"


def say(line: str) -> None:
    """Print a line as it is."""
    from rich.console import Console

    Console().print(line, soft_wrap=True, highlight=False, markup=False)
