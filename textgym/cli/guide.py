"""`textgym feedback guide`: what raters read beside their work, instructions and examples."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from .errors import checked_input, needs_extra

TABS = {"rate": "to rate", "compare": "to compare", "chat": "of a conversation"}


def guide(
    store: Annotated[str, typer.Argument(metavar="STORE", help="A SQLite file, or a postgresql:// URL.")],
    instructions: Annotated[Path | None, typer.Option(help="Text file; replaces what was there.")] = None,
    examples: Annotated[
        Path | None,
        typer.Option(help=".jsonl or .csv file; replaces those that were there, an empty one takes them away."),
    ] = None,
) -> None:
    """Say what raters read beside their work, or change it; who has the page open sees it with the next one.

    Each row of the examples is a judgement that you find right: of one completion (prompt, completion and score or
    quality: good, fair, bad), of two (prompt, completion_a, completion_b, preference: a, b, tie, both_bad), or of an
    answer in a conversation (said, answer and score or rewriting). comment says why; language (en or zh) shows an
    example only to those who read the page in that language.
    """
    needs_extra("feedback", "sqlalchemy")
    with checked_input():
        from textgym.feedback.examples import read_examples
        from textgym.feedback.store import FeedbackStore
        from textgym.feedback.tables import Project

        words = None if instructions is None else instructions.read_text(encoding="utf-8")
        opened = FeedbackStore(store, must_exist=True)
        with opened.writing() as session:
            project = session.get_one(Project, 1)
            if words is not None:
                project.instructions = words
            if examples is not None:
                project.examples = read_examples(examples, project.least_score, project.most_score)
        opened.close()
    counts = Counter(one["tab"] for one in project.examples)
    shown = ", ".join(f"{counts[tab]} {words}" for tab, words in TABS.items() if counts[tab]) or "none"
    print(f"Instructions:\n{project.instructions.strip() or 'none'}\n\nExamples: {shown}.")
