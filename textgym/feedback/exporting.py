"""Judgements as files: TRL's preferences, labels and demonstrations, and everything that each person said."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from textgym.replacing import replacing_file

from .store import FeedbackStore
from .tables import Annotator, Assignment, Chat, Comparison, Item, Project, Rating, Skip, Turn

Format: TypeAlias = Literal["preferences", "labels", "demonstrations", "ratings", "comparisons", "skips"]
Row: TypeAlias = dict[str, Any]
SUFFIXES = (".jsonl", ".csv")
QUALITY_VALUES = {"good": 1.0, "fair": 0.0, "bad": -1.0}


def export_file(store: FeedbackStore, path: Path, format_name: Format) -> int:
    """Write judgements to a file; check items are left out.

    - "preferences" (TRL's): prompt, chosen, rejected; what most people preferred, and a rewritten answer before the
      model's own. Pairs without a majority are left out.
    - "labels" (TRL's): prompt, completion, label; whether people found it better than the middle of the scale, on the
      average. Completions in the very middle are left out.
    - "demonstrations" (TRL's): prompt, completion; answers as people have rewritten them.
    - "ratings": prompt, completion, rating, quality, rater, comment; one row for each person's score. A word alone
      counts as the scale's best, middle or worst.
    - "comparisons": prompt, completion_a, completion_b, preference, sureness, rater, comment; likewise.
    - "skips": kind, prompt, completion, completion_a, completion_b, reason, rater, comment; one row for each time that
      somebody has skipped something; of the texts those that the kind has.

    Args:
        store: Where from.
        path: A .jsonl or .csv file, which is replaced once all is written.
        format_name: What to write.

    Returns:
        The number of rows.

    Raises:
        ValueError: If the file is of another kind, or there is no folder for it.
        OSError: If it cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"expected a {' or '.join(SUFFIXES)} file, got {str(path)!r}.")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"There is no folder {path.absolute().parent} to write {path.name} in.")
    columns, rows = FORMATS[format_name][0], read_judgements(store, format_name)
    with replacing_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            table = csv.DictWriter(file, columns)
            table.writeheader()
            table.writerows(rows)
        else:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return len(rows)


def read_judgements(store: FeedbackStore, format_name: Format) -> list[Row]:
    """Return the rows of a format; see `export_file`."""
    with store.reading() as session:
        return list(FORMATS[format_name][1](session))


def _preferences(session: Session) -> Iterator[Row]:
    votes: dict[int, Counter[str]] = {}
    items: dict[int, Item] = {}
    judged = select(Item, Comparison.preference).select_from(Assignment).join(Item).join(Comparison)
    for item, preference in session.execute(judged.where(~Item.is_check).order_by(Item.id)):
        items[item.id] = item
        votes.setdefault(item.id, Counter())[preference] += 1
    for number, counts in votes.items():
        item = items[number]
        if counts["a"] != counts["b"]:
            texts = (item.completion_a, item.completion_b)
            chosen, rejected = texts if counts["a"] > counts["b"] else texts[::-1]
            yield {"prompt": item.prompt, "chosen": chosen, "rejected": rejected}
    for turn in session.scalars(select(Turn).where(Turn.rewriting.is_not(None)).order_by(Turn.id)):
        if turn.rewriting != turn.answer:
            yield {"prompt": turn.context, "chosen": turn.rewriting, "rejected": turn.answer}


def _labels(session: Session) -> Iterator[Row]:
    project = session.get_one(Project, 1)
    middle = (project.least_score + project.most_score) / 2
    values: dict[tuple[str, str], list[float]] = {}
    for prompt, completion, score, *_ in _scores(session, project):
        values.setdefault((prompt, completion), []).append(score - middle)
    for prompt, completion, score, _ in session.execute(_rated_answers()):
        values.setdefault((prompt, completion), []).append(score - middle)
    for (prompt, completion), said in values.items():
        if sum(said) != 0:
            yield {"prompt": prompt, "completion": completion, "label": sum(said) > 0}


def _demonstrations(session: Session) -> Iterator[Row]:
    for turn in session.scalars(select(Turn).where(Turn.rewriting.is_not(None)).order_by(Turn.id)):
        yield {"prompt": turn.context, "completion": turn.rewriting}


def _ratings(session: Session) -> Iterator[Row]:
    names = FORMATS["ratings"][0]
    for row in _scores(session, session.get_one(Project, 1)):
        yield dict(zip(names, row, strict=True))
    for prompt, completion, score, rater in session.execute(_rated_answers()):
        yield dict(zip(names, (prompt, completion, score, None, rater, ""), strict=True))


def _comparisons(session: Session) -> Iterator[Row]:
    columns = (Item.prompt, Item.completion_a, Item.completion_b)
    said = (Comparison.preference, Comparison.sureness, Annotator.name, Comparison.comment)
    judged = select(*columns, *said).select_from(Assignment).join(Item).join(Annotator).join(Comparison)
    for row in session.execute(judged.where(~Item.is_check).order_by(Item.id, Assignment.id)):
        yield dict(zip(FORMATS["comparisons"][0], row, strict=True))


def _skips(session: Session) -> Iterator[Row]:
    columns = (Item.kind, Item.prompt, Item.completion_a, Item.completion_b, Skip.reason, Annotator.name, Skip.comment)
    skipped = select(*columns).select_from(Assignment).join(Item).join(Annotator).join(Skip)
    for kind, prompt, first, second, *said in session.execute(
        skipped.where(~Item.is_check).order_by(Item.id, Assignment.id)
    ):
        texts = (first, "", "") if kind == "rate" else ("", first, second)
        yield dict(zip(FORMATS["skips"][0], (kind, prompt, *texts, *said), strict=True))


def _scores(session: Session, project: Project) -> Iterator[tuple[Any, ...]]:
    """Yield the columns of "ratings" of each rating; a word alone has a score on the same scale."""
    columns = (Item.prompt, Item.completion_a, Rating.score, Rating.quality, Annotator.name, Rating.comment)
    judged = select(*columns).select_from(Assignment).join(Item).join(Annotator).join(Rating)
    half = (project.most_score - project.least_score) / 2
    for prompt, completion, score, quality, rater, comment in session.execute(
        judged.where(~Item.is_check).order_by(Item.id, Assignment.id)
    ):
        value = project.least_score + half + half * QUALITY_VALUES[quality or "fair"] if score is None else score
        yield prompt, completion, int(value) if value == int(value) else value, quality, rater, comment


def _rated_answers() -> Select[*tuple[Any, ...]]:
    """Scores of a model's answers in chats."""
    columns = (Turn.context, Turn.answer, Turn.score, Annotator.name)
    return (
        select(*columns).select_from(Turn).join(Chat).join(Annotator).where(Turn.score.is_not(None)).order_by(Turn.id)
    )


FORMATS: dict[Format, tuple[tuple[str, ...], Callable[[Session], Iterator[Row]]]] = {
    "preferences": (("prompt", "chosen", "rejected"), _preferences),
    "labels": (("prompt", "completion", "label"), _labels),
    "demonstrations": (("prompt", "completion"), _demonstrations),
    "ratings": (("prompt", "completion", "rating", "quality", "rater", "comment"), _ratings),
    "comparisons": (
        ("prompt", "completion_a", "completion_b", "preference", "sureness", "rater", "comment"),
        _comparisons,
    ),
    "skips": (
        ("kind", "prompt", "completion", "completion_a", "completion_b", "reason", "rater", "comment"),
        _skips,
    ),
}
