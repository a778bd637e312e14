"""People as annotators: completions go into a feedback store, and ratings come out when there are enough."""

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from textgym.feedback.exporting import read_judgements
from textgym.feedback.importing import import_file
from textgym.feedback.places import hide_password, is_missing_file, read_place
from textgym.feedback.project import change_project
from textgym.feedback.store import FeedbackStore, ProjectSettings
from textgym.feedback.tables import Assignment, Item, Project
from textgym.shell_words import as_typed
from textgym.training.run_folder import write_json_lines

from .annotator_settings import PeopleAnnotators
from .annotators import ComparisonRow, Pair, RatingRow, Text, WaitingForPeople


def check_people(settings: PeopleAnnotators) -> None:
    """See whether people can be asked, without making a store.

    Raises:
        ValueError: If the scale is none, or another than that of the store that is there, or this cannot be opened.
        OSError: If the instructions cannot be read.
    """
    _instructions(settings)
    ProjectSettings(*(settings.scale or ()))
    if settings.store is None or is_missing_file(settings.store):
        read_place(settings.store or "feedback.db", must_exist=False)
        return

    def agree(session: Session) -> None:
        change_project(session, scale=settings.scale)

    FeedbackStore(settings.store, first=agree).close()


def _instructions(settings: PeopleAnnotators) -> str | None:
    return None if settings.instructions is None else Path(settings.instructions).read_text(encoding="utf-8")


class PeopleRaters:
    """People at the page of `textgym label`.

    Args:
        settings: How many people rate a completion, on which scale.
        place: The store.
        command: What goes on with the loop.
        policy: Gives the language model as it is now, for people to chat with.
    """

    def __init__(self, settings: PeopleAnnotators, place: str, command: str, policy: Callable[[], str]) -> None:
        self.settings = settings
        self.place = place
        self.command = command
        self.policy = policy

    def describe(self) -> str:
        """Return who they are, in a few words."""
        return f"people, {self.settings.per_item} an item, through {hide_password(self.place)}"

    def rate(self, texts: Sequence[Text], seed: int) -> list[RatingRow]:
        """Put the texts into the store unless they are there, and return what people have said of them.

        A word alone ("good") counts as the scale's best, middle or worst. A text that as many people have skipped as
        were to rate it is waited for no longer.

        Raises:
            WaitingForPeople: If too few texts have been judged by as many people as are asked for.
        """
        with self._store() as store:
            self._ask(store, texts)
            self._wait(
                store, {(text.prompt, frozenset((text.completion, ""))) for text in texts}, "completions are rated"
            )
            asked = set(texts)
            said = read_judgements(store, "ratings")
            return [row for row in said if Text(row["prompt"], row["completion"]) in asked]

    def compare(self, pairs: Sequence[Pair], seed: int) -> list[ComparisonRow]:
        """Put the pairs into the store unless they are there, and return what people say of them; see `rate`.

        Rows have people's `sureness` and `comment`, too.
        """
        # The store puts a pair in an order of its own.
        asked = {(pair.prompt, frozenset(pair[1:])): pair for pair in pairs}
        with self._store() as store:
            self._ask(store, pairs)
            self._wait(store, set(asked), "pairs are compared")
            said = read_judgements(store, "comparisons")
        rows = [_in_order_of(asked.get((row["prompt"], frozenset(Pair.of(row)[1:]))), row) for row in said]
        # Who has rewritten the one as the other in a chat, and back in another chat, has the last word.
        return list({(Pair.of(row), row["rater"]): row for row in rows if row is not None}.values())

    @contextmanager
    def _store(self) -> Iterator[FeedbackStore]:
        words = _instructions(self.settings)

        def agree(session: Session) -> None:
            # What the store's owner has written since is not taken back by each round.
            has_words = bool(session.get_one(Project, 1).instructions)
            change_project(session, scale=self.settings.scale, instructions=None if has_words else words)

        store = FeedbackStore(self.place, first=agree)
        try:
            yield store
        finally:
            store.close()

    def true_scores(self, texts: Sequence[Text]) -> None:
        """Return None: only people know."""

    def _ask(self, store: FeedbackStore, texts: Sequence[Text] | Sequence[Pair]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "asked.jsonl"
            write_json_lines(path, (text._asdict() for text in texts))
            import_file(store, path, people=self.settings.per_item)

    def _wait(self, store: FeedbackStore, asked: set[tuple[str, frozenset[str]]], what: str) -> None:
        """Raise WaitingForPeople unless enough has been judged, of what people have not given up."""
        with store.reading() as session:
            judged, skipped = (asked & self._items(session, state) for state in ("decided", "skipped"))
        left = len(asked) - len(skipped - judged)
        n_wanted = max(1, math.ceil(self.settings.enough * left))
        if len(judged) < n_wanted:
            policy = self.policy()
            model = "" if policy == "bundled" else f" --model {as_typed(policy)}"
            raise WaitingForPeople(
                f"Waiting for people: {len(judged)} of {n_wanted} {what}, each by "
                f"{self.settings.per_item}.\n"
                f"Open the page by: textgym label {as_typed(hide_password(self.place))}{model}\n"
                f"Then go on by:    {self.command}"
            )

    def _items(self, session: Session, state: str) -> set[tuple[str, frozenset[str]]]:
        """Return prompts and completions, "" with one alone, that as many people as are asked for have decided on."""
        rows = session.execute(
            select(Item.prompt, Item.completion_a, Item.completion_b)
            .join(Assignment)
            .where(Item.kind.in_(("rate", "compare")), Assignment.state == state)
            .group_by(Item.id, Item.prompt, Item.completion_a, Item.completion_b)
            .having(func.count(Assignment.id) >= self.settings.per_item)
        )
        return {(prompt, frozenset((first, second or ""))) for prompt, first, second in rows}


def _in_order_of(pair: Pair | None, row: ComparisonRow) -> ComparisonRow | None:
    """Return what a row says with the completions in the order of the pair that was asked; None for no such pair."""
    if pair is None or pair == Pair.of(row):
        return None if pair is None else row
    turned = {"a": "b", "b": "a"}
    return {**row, **pair._asdict(), "preference": turned.get(row["preference"], row["preference"])}
