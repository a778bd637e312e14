"""`textgym feedback`: what people said, in and out of files, and how a project stands."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import checked_input, needs_extra
from .guide import guide

if TYPE_CHECKING:
    from textgym.feedback.statistics import KindStatistics, PersonStatistics

app = typer.Typer(no_args_is_help=True, help="Put items and judgements into a feedback store, and take them out.")
app.command()(guide)
Store = Annotated[str, typer.Argument(metavar="STORE", help="A SQLite file, or a postgresql:// URL.")]


class Format(StrEnum):
    """What can be exported."""

    preferences = "preferences"
    labels = "labels"
    demonstrations = "demonstrations"
    ratings = "ratings"
    comparisons = "comparisons"
    skips = "skips"


@app.command("import")
def import_(
    store: Store,
    file: Annotated[Path, typer.Argument(help="A .jsonl or .csv file.")],
    people: Annotated[
        int | None,
        typer.Option(min=1, help="How many people are to judge each item. [default: 1, or as before]"),
    ] = None,
    checks: Annotated[
        bool,
        typer.Option(
            "--checks",
            help="The rows are hidden check items, and what they say, in a score, a word or a preference, is the right "
            "answer.",
        ),
    ] = False,
    rater: Annotated[
        str | None,
        typer.Option(help="Whose judgements they are, where a row does not say; not with --checks. [default: import]"),
    ] = None,
    scale: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="LEAST MOST", help="Lowest and highest score. [default: 1 5, or the store's]"),
    ] = None,
    instructions: Annotated[
        Path | None, typer.Option(help="Text file that raters read at the side of the page. [default: the store's]")
    ] = None,
) -> None:
    """Read items to be judged, or judgements, into a store, which is made if it is not there.

    A row with `prompt` alone is a subject to chat about; with `completion`, something to rate; with `completion_a` and
    `completion_b`, something to compare. TRL's formats (`prompt`, `chosen`, `rejected`, and `prompt`, `completion`,
    `label`) and the columns `score`, `quality`, `preference`, `rater`, `comment` are judgements already made, as are
    exported ratings and comparisons; `reason` is a skip's; `priority` says what goes first. A file with a bad row, or
    with a column that is nearly one of these, is refused as a whole.

    An item that is there already is not doubled; --people, --instructions and `priority` change what was said before,
    --scale too, until somebody has begun to judge.
    """
    needs_extra("feedback", "sqlalchemy")
    with checked_input():
        from textgym.feedback.importing import import_into

        words = instructions.read_text(encoding="utf-8") if instructions is not None else None
        imported = import_into(
            store, file, scale=scale, instructions=words, people=people, are_checks=checks, rater=rater
        )
    counts = ", ".join(f"{count} to {kind}" for kind, count in sorted(imported.items.items()) if count) or "none"
    print(f"New items: {counts}; new judgements: {imported.n_judgements}; rows already there: {imported.n_repeated}.")
    if imported.n_skips:
        print(f"New skips: {imported.n_skips}.")
    if imported.n_changed:
        print(f"Items whose number of people or priority was changed: {imported.n_changed}.")
    if imported.unused_columns:
        print(f"Columns not used: {', '.join(imported.unused_columns)}.")


@app.command()
def export(
    store: Store,
    file: Annotated[Path, typer.Argument(help="A .jsonl or .csv file, which is replaced.")],
    format_: Annotated[Format, typer.Option("--format", "-f", help="What to write.")] = Format.preferences,
) -> None:
    """Write what people said to a file.

    preferences (prompt, chosen, rejected), labels (prompt, completion, label) and demonstrations (prompt, completion)
    are TRL's formats, with one row for each item; ratings and comparisons have one row for each person's judgement,
    skips one for each time that somebody has passed something by, with the reason.

    TRL's formats leave out who said it, sureness and comments; preferences also pairs that as many prefer either way,
    labels what is rated in the middle. Demonstrations are for textgym sft: imported, they would be items to be rated.

    ratings, comparisons and skips hold everything that was said, and textgym feedback import reads them again as it
    was; give it the store's --scale. Only what was said in chats comes back in another form: rated answers as ratings,
    and rewritings as preferred to what the model said. Check items are left out.
    """
    needs_extra("feedback", "sqlalchemy")
    with checked_input():
        from textgym.feedback.exporting import export_file
        from textgym.feedback.store import FeedbackStore

        opened = FeedbackStore(store, must_exist=True)
        n_rows = export_file(opened, file, format_.value)
        opened.close()
    print(f"Wrote {n_rows} rows to {file}.")


@app.command()
def stats(store: Store) -> None:
    """Show how a project stands: items done, agreement (Krippendorff's alpha), and what each person has done."""
    needs_extra("feedback", "sqlalchemy")
    with checked_input():
        from textgym.feedback.statistics import by_kind, by_person
        from textgym.feedback.store import FeedbackStore

        opened = FeedbackStore(store, must_exist=True)
        with opened.reading() as session:
            kinds, people = by_kind(session), by_person(session)
        opened.close()
    _print(kinds, people)


@app.command()
def person(
    store: Store,
    name: Annotated[str, typer.Argument(help="The person's name.")],
    owner: Annotated[bool, typer.Option("--owner", help="Let this person see agreement and everybody's work.")] = False,
) -> None:
    """Add a person, or give one a new password, for a page open to other machines; it is shown once."""
    needs_extra("feedback", "sqlalchemy")
    with checked_input():
        from textgym.feedback.people import find_or_add, give_password
        from textgym.feedback.store import FeedbackStore

        opened = FeedbackStore(store, must_exist=True)
        with opened.writing() as session:
            found = find_or_add(session, name)
            found.is_owner = found.is_owner or owner
            password = give_password(found)
        opened.close()
    print(f"Name: {found.name}\nPassword: {password}")


def _print(kinds: "list[KindStatistics]", people: "list[PersonStatistics]") -> None:
    from rich.console import Console
    from rich.table import Table

    items = Table("", "items", "done", "judgements", "asked for", "skips", "alpha")
    for one in kinds:
        alpha = "-" if one.alpha is None else f"{one.alpha:.2f}"
        reasons = ", ".join(f"{count} {reason}" for reason, count in one.skip_reasons.items())
        skips = f"{one.n_skips} ({reasons})" if reasons else "0"
        counts = (one.n_items, one.n_done, one.n_judgements, one.n_wanted, skips)
        items.add_row(one.kind, *map(str, counts), alpha)
    persons = Table("person", "rated", "compared", "chats", "turns", "rewritten", "skipped", "checks failed")
    for who in people:
        checks = f"{who.checks.n_failed} of {who.checks.n_checks}" + (" (careless?)" if who.checks.is_careless else "")
        judged = (who.n_judged[kind] for kind in ("rate", "compare", "chat"))
        persons.add_row(who.name, *map(str, (*judged, who.n_turns, who.n_rewritten, who.n_skipped)), checks)
    console = Console()
    console.print(items)
    console.print(persons)
