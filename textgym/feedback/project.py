"""How a store's items are judged, changed while that is still possible."""

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from .store import ProjectSettings
from .tables import Assignment, Item, Project, Turn


def change_project(session: Session, *, scale: tuple[int, int] | None = None, instructions: str | None = None) -> None:
    """Change what is given.

    Args:
        session: A writing session.
        scale: Lowest and highest score.
        instructions: What raters read.

    Raises:
        ValueError: If the scale is another one, and something has been judged, or given to people, by the old one, or
            an example has a score of it.
    """
    project = session.get_one(Project, 1)
    if scale is not None and scale != (project.least_score, project.most_score):
        ProjectSettings(*scale)
        begun = or_(
            exists(select(Assignment.id)), exists(select(Turn.id)), exists(select(Item.id).where(Item.is_check))
        )
        if session.scalar(select(begun)):
            raise ValueError(
                f"the store's scale is {project.least_score} to {project.most_score} and cannot become {scale[0]} to "
                f"{scale[1]}, since judging has begun by it; give its own scale or none, or make another store."
            )
        if any("score" in example for example in project.examples):
            raise ValueError(
                f"the store's examples have scores of its scale, {project.least_score} to {project.most_score}; take "
                "them out first, by textgym feedback guide with --examples and an empty file, and give others then."
            )
        project.least_score, project.most_score = scale
    if instructions is not None:
        project.instructions = instructions
    session.flush()
