"""Judgements as files: TRL's preferences, labels and demonstrations, and everything that each person said."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

from sqlalchemy import select
from sqlalchemy.orm import Session

from textgym.replacing import replacing_file

from .chat_judgements import demonstrations, rated_answers, rewritten_answers
from .judgements import word_score
from .store import FeedbackStore
from .tables import Annotator, Assignment, Comparison, Item, Project, Rating, Skip

Format: TypeAlias = Literal["preferences", "labels", "demonstrations", "ratings", "comparisons", "skips"]
Row: TypeAlias = dict[str, Any]
SUFFIXES = (".jsonl", ".csv")


def export_file(store: FeedbackStore, path: Path, format_name: Format) -> int:
    """Write judgements to a file; check items are left out.

    - "preferences" (TRL's): prompt, chosen, rejected; what was preferred more often than the other, and a rewritten
      answer before the model's own. Who finds two alike, or both bad, does not count here, and pairs of which both were
      preferred equally often are left out.
    - "labels" (TRL's): prompt, completion, label; whether people found it better than the middle of the scale, on the
      average. Completions in the very middle are left out.
    - "demonstrations" (TRL's): prompt, completion; answers as people have rewritten them.
    - "ratings": prompt, completion, rating, score, quality, rater, comment; one row for each person's rating, be it of
      an answer in a chat. score and quality are what was said; rating is the score, or what a word alone counts as: the
      scale's best, middle or worst.
    - "comparisons": prompt, completion_a, completion_b, preference, sureness, rater, comment; likewise. An answer that
      somebody has rewritten is compared with the rewriting, which is preferred.
    - "skips": kind, prompt, completion, completion_a, completion_b, reason, rater, comment; one row for each time that
      somebody has skipped something; of the texts those that the kind has.

    `importing.import_file` reads ratings, comparisons and skips again, and makes the same of them.

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
    rewritten = ((one.context, one.rewriting, one.answer) for one in rewritten_answers(session) if one.answer.strip())
    for prompt, chosen, rejected in dict.fromkeys(rewritten):
        yield {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _labels(session: Session) -> Iterator[Row]:
    project = session.get_one(Project, 1)
    middle = (project.least_score + project.most_score) / 2
    values: dict[tuple[str, str], list[float]] = {}
    for row in _ratings(session):
        values.setdefault((row["prompt"], row["completion"]), []).append(row["rating"] - middle)
    for (prompt, completion), said in values.items():
        if sum(said) != 0:
            yield {"prompt": prompt, "completion": completion, "label": sum(said) > 0}


def _demonstrations(session: Session) -> Iterator[Row]:
    for context, rewriting in demonstrations(session):
        yield {"prompt": context, "completion": rewriting}


def _ratings(session: Session) -> Iterator[Row]:
    names = FORMATS["ratings"][0]
    project = session.get_one(Project, 1)
    columns = (Item.prompt, Item.completion_a, Rating.score, Rating.quality, Annotator.name, Rating.comment)
    judged = select(*columns).select_from(Assignment).join(Item).join(Annotator).join(Rating)
    said = set()
    for prompt, completion, score, quality, rater, comment in session.execute(
        judged.where(~Item.is_check).order_by(Item.id, Assignment.id)
    ):
        said.add((prompt, completion, rater))
        value = word_score(quality or "fair", project.least_score, project.most_score) if score is None else score
        rating = int(value) if value == int(value) else value
        yield dict(zip(names, (prompt, completion, rating, score, quality, rater, comment), strict=True))
    for prompt, answer, score, rater in rated_answers(session):
        # Asked of it by itself, somebody has looked more closely than in a conversation.
        if (prompt, answer, rater) not in said:
            yield dict(zip(names, (prompt, answer, score, score, None, rater, ""), strict=True))


def _comparisons(session: Session) -> Iterator[Row]:
    names = FORMATS["comparisons"][0]
    columns = (Item.prompt, Item.completion_a, Item.completion_b)
    more = (Comparison.preference, Comparison.sureness, Annotator.name, Comparison.comment)
    judged = select(*columns, *more).select_from(Assignment).join(Item).join(Annotator).join(Comparison)
    said: set[tuple[Any, ...]] = set()
    for prompt, first, second, preference, sureness, rater, comment in session.execute(
        judged.where(~Item.is_check).order_by(Item.id, Assignment.id)
    ):
        said.add((prompt, frozenset((first, second)), rater))
        yield dict(zip(names, (prompt, first, second, preference, sureness, rater, comment), strict=True))
    for one in rewritten_answers(session):
        first, second = sorted((one.answer, one.rewriting))
        if one.answer.strip() and (one.context, frozenset((first, second)), one.rater) not in said:
            chosen = "a" if first == one.rewriting else "b"
            yield dict(zip(names, (one.context, first, second, chosen, None, one.rater, ""), strict=True))


def _skips(session: Session) -> Iterator[Row]:
    columns = (Item.kind, Item.prompt, Item.completion_a, Item.completion_b, Skip.reason, Annotator.name, Skip.comment)
    skipped = select(*columns).select_from(Assignment).join(Item).join(Annotator).join(Skip)
    for kind, prompt, first, second, *said in session.execute(
        skipped.where(~Item.is_check).order_by(Item.id, Assignment.id)
    ):
        texts = (first, "", "") if kind == "rate" else ("", first, second)
        yield dict(zip(FORMATS["skips"][0], (kind, prompt, *texts, *said), strict=True))


FORMATS: dict[Format, tuple[tuple[str, ...], Callable[[Session], Iterator[Row]]]] = {
    "preferences": (("prompt", "chosen", "rejected"), _preferences),
    "labels": (("prompt", "completion", "label"), _labels),
    "demonstrations": (("prompt", "completion"), _demonstrations),
    "ratings": (("prompt", "completion", "rating", "score", "quality", "rater", "comment"), _ratings),
    "comparisons": (
        ("prompt", "completion_a", "completion_b", "preference", "sureness", "rater", "comment"),
        _comparisons,
    ),
    "skips": (
        ("kind", "prompt", "completion", "completion_a", "completion_b", "reason", "rater", "comment"),
        _skips,
    ),
}
