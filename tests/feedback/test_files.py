"""Files in and out: TRL's formats, CSV, bad rows named by line, and nothing half imported."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.cli.conftest import run_command
from textgym.feedback.exporting import export_file
from textgym.feedback.importing import ImportRefusedError, import_file
from textgym.feedback.judgements import skip
from textgym.feedback.people import find_or_add
from textgym.feedback.statistics import by_kind
from textgym.feedback.store import FeedbackStore, ProjectSettings, utc_now
from textgym.feedback.tables import Annotator, Assignment, Chat, Item, Turn


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, rows[0].keys())
            table.writeheader()
            table.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


PREFERENCES = [
    {"prompt": "The film", "chosen": " was a joy.", "rejected": " was."},
    {"prompt": "天气", "chosen": "很好，\n“真的”", "rejected": 'z, "quoted"'},
]
LABELS = [
    {"prompt": "The film", "completion": " was a joy.", "label": True},
    {"prompt": "The film", "completion": " was.", "label": False},
]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
@pytest.mark.parametrize(("rows", "name"), [(PREFERENCES, "preferences"), (LABELS, "labels")])
def test_trls_formats_go_in_and_come_out_the_same(
    store: FeedbackStore, tmp_path: Path, rows: list[dict[str, Any]], name: Any, suffix: str
) -> None:
    imported = import_file(store, write_rows(tmp_path / f"in{suffix}", rows))
    assert (imported.n_judgements, imported.n_repeated) == (2, 0)
    assert export_file(store, tmp_path / f"out{suffix}", name) == 2
    assert read_rows(tmp_path / f"out{suffix}") == read_rows(tmp_path / f"in{suffix}")
    again = import_file(store, tmp_path / f"out{suffix}")
    assert (sum(again.items.values()), again.n_judgements, again.n_repeated) == (0, 0, 2)


def test_everybodys_scores_and_preferences_come_out_one_by_one(store: FeedbackStore, tmp_path: Path) -> None:
    rated = [
        {"prompt": "p", "completion": "c", "rating": 1, "score": 1, "quality": "fair", "rater": "Ada",
         "comment": "dull"},
        {"prompt": "p", "completion": "c", "rating": 5, "score": 5, "quality": None, "rater": "Bo", "comment": ""},
    ]  # fmt: skip
    compared = [
        {"prompt": "p", "completion_a": "x", "completion_b": "y", "preference": one, "sureness": 2, "rater": rater,
         "comment": ""}
        for one, rater in (("a", "Ada"), ("tie", "Bo"), ("both_bad", "Cy"))
    ]  # fmt: skip
    import_file(store, write_rows(tmp_path / "rated.jsonl", rated), people=2)
    import_file(store, write_rows(tmp_path / "compared.jsonl", compared), people=3)
    export_file(store, tmp_path / "ratings.jsonl", "ratings")
    export_file(store, tmp_path / "comparisons.jsonl", "comparisons")
    assert read_rows(tmp_path / "ratings.jsonl") == rated
    assert read_rows(tmp_path / "comparisons.jsonl") == compared


def test_what_was_skipped_comes_out_with_the_reason(store: FeedbackStore, tmp_path: Path) -> None:
    rows = [{"prompt": "p", "completion": "c"}, {"prompt": "q", "completion_a": "x", "completion_b": "y"}]
    import_file(store, write_rows(tmp_path / "in.jsonl", rows))
    import_file(
        store, write_rows(tmp_path / "in.jsonl", [{"prompt": "p", "completion": "no", "score": 1}]), are_checks=True
    )
    with store.writing() as session:
        ada = find_or_add(session, "Ada")
        for item in session.scalars(select(Item).order_by(Item.id)):
            given = Assignment(item=item, annotator=ada, given_at=utc_now())
            session.add(given)
            session.flush()
            skip(session, ada.id, given.id, "other" if item.kind == "compare" else "unclear", f"{item.kind} it?")
        kinds = by_kind(session)
    assert [one.skip_reasons for one in kinds] == [{"unclear": 1}, {"other": 1}, {}]
    assert export_file(store, tmp_path / "out.jsonl", "skips") == 2
    assert read_rows(tmp_path / "out.jsonl") == [
        {"kind": "rate", "prompt": "p", "completion": "c", "completion_a": "", "completion_b": "",
         "reason": "unclear", "rater": "Ada", "comment": "rate it?"},
        {"kind": "compare", "prompt": "q", "completion": "", "completion_a": "x", "completion_b": "y",
         "reason": "other", "rater": "Ada", "comment": "compare it?"},
    ]  # fmt: skip
    stats = run_command("feedback", "stats", store.engine.url.render_as_string(hide_password=False))
    assert "1 (1 unclear)" in stats.output


def test_a_word_alone_is_a_rating_on_the_stores_scale(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path / "s.db", ProjectSettings(1, 4))
    rows = [{"prompt": "p", "completion": f"{is_good}", "label": is_good, "rater": "Ada"} for is_good in (True, False)]
    import_file(store, write_rows(tmp_path / "in.jsonl", rows))
    export_file(store, tmp_path / "out.jsonl", "ratings")
    store.close()
    assert [row["rating"] for row in read_rows(tmp_path / "out.jsonl")] == [4, 1]


def test_whose_judgements_are_imported_does_not_own_the_project(store: FeedbackStore, tmp_path: Path) -> None:
    import_file(store, write_rows(tmp_path / "in.jsonl", [{"prompt": "p", "chosen": "a", "rejected": "b"}]))
    with store.writing() as session:
        anna, bo = find_or_add(session, "Anna"), find_or_add(session, "Bo")
        assert (anna.is_owner, bo.is_owner) == (True, False)


def test_labels_are_what_people_think_on_the_average_and_the_middle_is_left_out(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path / "s.db", ProjectSettings(-4, 4))
    rows = [
        {"prompt": "p", "completion": name, "score": score, "rater": rater}
        for name, scores in {"good": (4, -1), "bad": (-3, 1), "even": (2, -2)}.items()
        for rater, score in zip(("Ada", "Bo"), scores, strict=True)
    ]
    import_file(store, write_rows(tmp_path / "in.jsonl", rows), people=2)
    export_file(store, tmp_path / "out.jsonl", "labels")
    store.close()
    assert [(row["completion"], row["label"]) for row in read_rows(tmp_path / "out.jsonl")] == [
        ("good", True),
        ("bad", False),
    ]


def test_the_majority_is_preferred_and_a_draw_is_left_out(store: FeedbackStore, tmp_path: Path) -> None:
    votes = {"one": "aab", "two": "ab", "three": "b", "four": ("tie", "tie")}
    rows = [
        {"prompt": prompt, "completion_a": "x", "completion_b": "y", "preference": vote, "rater": f"person {number}"}
        for prompt, said in votes.items()
        for number, vote in enumerate(said)
    ]
    import_file(store, write_rows(tmp_path / "in.jsonl", rows), people=3)
    export_file(store, tmp_path / "out.jsonl", "preferences")
    assert read_rows(tmp_path / "out.jsonl") == [
        {"prompt": "one", "chosen": "x", "rejected": "y"},
        {"prompt": "three", "chosen": "y", "rejected": "x"},
    ]


def test_rewritten_answers_come_out_as_demonstrations_and_as_preferences(store: FeedbackStore, tmp_path: Path) -> None:
    with store.writing() as session:
        ada = Annotator(name="Ada", created_at=utc_now())
        turns = [
            Turn(number=0, said="Hello", context="Hello", answer=" x", rewriting=" world", created_at=utc_now()),
            Turn(number=1, said="So?", context="Hello world\nSo?", answer=" y", score=5, created_at=utc_now()),
        ]
        session.add(Chat(annotator=ada, model="m", started_at=utc_now(), turns=turns))
    export_file(store, tmp_path / "d.jsonl", "demonstrations")
    export_file(store, tmp_path / "p.jsonl", "preferences")
    export_file(store, tmp_path / "l.jsonl", "labels")
    assert read_rows(tmp_path / "d.jsonl") == [{"prompt": "Hello", "completion": " world"}]
    assert read_rows(tmp_path / "p.jsonl") == [{"prompt": "Hello", "chosen": " world", "rejected": " x"}]
    assert read_rows(tmp_path / "l.jsonl") == [{"prompt": "Hello world\nSo?", "completion": " y", "label": True}]


def test_items_to_be_judged_are_told_apart_by_their_columns(store: FeedbackStore, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "Talk about the sea."},
        {"prompt": "p", "completion": "c", "priority": 3},
        {"prompt": "p", "completion_a": "y", "completion_b": "x"},
        {"prompt": "p", "completion_a": "x", "completion_b": "y"},
    ]
    imported = import_file(store, write_rows(tmp_path / "in.jsonl", rows), people=4)
    assert imported.items == {"chat": 1, "rate": 1, "compare": 1}
    assert imported.n_repeated == 1
    with store.reading() as session:
        assert {item.n_people for item in session.scalars(select(Item))} == {4}


def test_bad_rows_are_named_by_line_and_nothing_is_imported(store: FeedbackStore, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "p", "completion": "fine"},
        {"prompt": "p", "completion": ""},
        {"prompt": "p", "chosen": "same", "rejected": "same"},
        {"prompt": "p", "completion": "c", "label": "perhaps"},
        {"prompt": "p", "completion": "c", "score": 7},
        {"prompt": "p", "completion": "c", "score": 2.5},
        {"prompt": 3, "completion": "c"},
        {"prompt": "p", "completion": "c", "score": 1},
        {"prompt": "p", "completion": "c", "score": 2},
        {"prompt": "p", "text": "c"},
    ]
    path = write_rows(tmp_path / "in.jsonl", rows)
    with pytest.raises(ImportRefusedError) as caught:
        import_file(store, path)
    assert str(caught.value) == (
        f"8 rows of {path} cannot be used, and nothing was imported:\n"
        "  line 2: completion is empty\n"
        "  line 3: the two completions are the same text\n"
        "  line 4: label must be true or false, got 'perhaps'\n"
        "  line 5: score must be 1 to 5, got 7\n"
        "  line 6: score must be a whole number, got 2.5\n"
        "  line 7: prompt must be text, got 3\n"
        "  line 9: import has said something else of this already\n"
        "  line 10: has no completion, and columns that are unknown here: text"
    )
    with store.reading() as session:
        assert [session.scalar(select(func.count()).select_from(table)) for table in (Item, Assignment, Annotator)] == [
            0, 0, 0,
        ]  # fmt: skip


def test_the_command_line_imports_exports_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "in.csv", PREFERENCES)
    write_rows(tmp_path / "checks.jsonl", [{"prompt": "p", "completion": "gibberish", "score": -4}])
    first = run_command("feedback", "import", "store.db", "in.csv", "--people", 2, "--scale", -4, 4)
    assert first.output == "New items: 2 to compare; new judgements: 2; rows already there: 0.\n", first.output
    checks = run_command("feedback", "import", "store.db", "checks.jsonl", "--checks")
    assert checks.output == "New items: 1 to rate; new judgements: 0; rows already there: 0.\n"
    exported = run_command("feedback", "export", "store.db", "out.jsonl", "--format", "preferences")
    assert exported.output == "Wrote 2 rows to out.jsonl.\n"
    stats = run_command("feedback", "stats", "store.db")
    assert "compare" in stats.output
    assert "import" in stats.output
    made = run_command("feedback", "person", "store.db", "Ada", "--owner")
    assert made.output.startswith("Name: Ada\nPassword: ")


def test_a_missing_folder_to_export_into_is_named(sqlite_store: FeedbackStore, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"There is no folder {tmp_path / 'none'} to write out.csv in."):
        export_file(sqlite_store, tmp_path / "none/out.csv", "ratings")


@pytest.mark.parametrize(
    "arguments",
    [("stats", "none.db"), ("export", "none.db", "x.jsonl"), ("person", "none.db", "Ada"), ("guide", "none.db")],
)
def test_a_missing_store_is_named_and_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run_command("feedback", *arguments)
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: There is no feedback store none.db; make one by: textgym feedback import none.db FILE, or an empty one "
        "by: textgym label none.db\n"
    )
    assert not list(tmp_path.iterdir())


def test_an_empty_database_is_not_made_a_store_by_who_only_looks_at_it(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if "://" not in place:
        (tmp_path / place).touch()
    for arguments in (("person", place, "Ada"), ("guide", place), ("stats", place)):
        result = run_command("feedback", *arguments)
        assert result.exit_code == 2
        assert "is no feedback store: the database is empty; make one by: textgym feedback import" in result.stderr
    assert run_command("feedback", "stats", place).exit_code == 2
