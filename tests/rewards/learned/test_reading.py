"""Feedback is read from every format, and no bad row is used silently."""

import json
from pathlib import Path
from typing import Any

import pytest

from textgym.rewards.learned import Feedback, FeedbackError, Preference, Rating, read_feedback

RATINGS = [
    {"prompt": "A film", "completion": "of joy", "rating": 4.0, "rater": "ann", "comment": "warm"},
    {"prompt": "A film", "completion": "of joy", "rating": 5.0, "rater": "bob", "comment": ""},
    {"prompt": "A film", "completion": "of tears", "rating": 1.0, "rater": "ann", "comment": ""},
]
READ = (
    Rating("A film", "of joy", (4.0, 5.0), ("ann", "bob"), comment="warm"),
    Rating("A film", "of tears", (1.0,), ("ann",)),
)


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    if path.suffix == ".jsonl":
        lines = [json.dumps(row) for row in rows]
    else:
        separator = "," if path.suffix == ".csv" else "\t"
        lines = [separator.join(rows[0]), *(separator.join(map(str, row.values())) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv"])
def test_files_give_one_rating_a_completion_with_all_its_raters(tmp_path: Path, suffix: str) -> None:
    assert read_feedback(write(tmp_path / f"ratings{suffix}", [*RATINGS])).ratings == READ


def test_a_data_set_and_a_list_give_the_same() -> None:
    datasets = pytest.importorskip("datasets", reason="the datasets library is not installed")
    assert read_feedback(datasets.Dataset.from_list(RATINGS)).ratings == READ
    assert read_feedback(RATINGS).ratings == READ


def test_ratings_of_several_people_in_one_field_and_columns_of_other_names() -> None:
    rows: list[dict[str, Any]] = [
        {"text": "fine", "all": "1 2,3"},
        {"text": "bad", "all": "[-1, 0]"},
        {"text": "so", "all": [2]},
    ]
    feedback = read_feedback(rows, columns={"completion": "text", "ratings": "all"})
    assert [one.ratings for one in feedback.ratings] == [(1.0, 2.0, 3.0), (-1.0, 0.0), (2.0,)]
    assert [one.prompt for one in feedback.ratings] == ["", "", ""]


def test_preferences_have_trl_names_and_may_stand_beside_ratings() -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "A", "chosen": "b", "rejected": "c"},
        {"prompt": "A", "chosen": "b", "rejected": "d", "margin": "2.5", "rater": "ann"},
        {"prompt": "A", "completion": "b", "rating": 3},
    ]
    feedback = read_feedback(rows)
    assert feedback.preferences == (Preference("A", "b", "c"), Preference("A", "b", "d", 2.5, rater="ann"))
    assert feedback.ratings == (Rating("A", "b", (3.0,)),)


def test_quotes_in_tsv_are_letters(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('completion\trating\n"so" they say\t1\n"open\t2\n', encoding="utf-8")
    assert [one.completion for one in read_feedback(tmp_path / "a.tsv").ratings] == ['"so" they say', '"open']


BAD = """{"prompt": "A", "completion": "a", "rating": 1}
{"prompt": "A", "completion": "b"}
{"prompt": "A", "completion": " ", "rating": 1}
{"prompt": "A", "completion": "c", "rating": "good"}
{"prompt": "A", "completion": "d", "rating": NaN}
{"prompt": "A", "completion": "e", "ratings": [1, true]}
{"prompt": "A", "chosen": "x", "rejected": "x"}
{"prompt": "A", "chosen": "x"}
{"completion": "f", "rating": 2}
{"prompt": "A", "completion": "g", "rating": 2}
{"prompt": "A", "completion": "g", "rating": 3}
{"prompt": "A", "chosen": "x", "rejected": "y"}
{"prompt": "A", "chosen": "y", "rejected": "x"}
[1, 2]
not JSON
{"prompt": "A", "completion": "a", "rating": 1.0}
"""
COMPLAINTS = {
    2: "has no rating",
    3: "completion is empty",
    4: "rating must be a finite number, got 'good'",
    5: "rating must be a finite number, got nan",
    6: "ratings must be a finite number, got True",
    7: "chosen and rejected are the same text",
    8: "has no rejected",
    9: "has no prompt",
    10: "says otherwise of the same text than line 11",
    11: "says otherwise of the same text than line 10",
    12: "says otherwise of the same text than line 13",
    13: "says otherwise of the same text than line 12",
    14: "expected an object in braces",
    15: "not JSON: Expecting value: line 1 column 1 (char 0)",
}


def test_bad_rows_are_refused_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(BAD, encoding="utf-8")
    with pytest.raises(FeedbackError) as caught:
        read_feedback(path)
    head, *lines, remedy = str(caught.value).splitlines()
    assert head == (
        f"14 of 16 rows of {path} cannot be used: 4 × missing field, 4 × duplicate that disagrees, "
        "3 × rating that is no number, 2 × unreadable row, 1 × both sides equal."
    )
    assert lines == [f"  line {line}: {problem}" for line, problem in COMPLAINTS.items()]
    assert remedy == "Mend them, or leave them out: bad_rows='skip', on the command line --skip-bad-rows."


def test_bad_rows_are_skipped_where_that_is_asked_for_and_repetitions_count_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(BAD, encoding="utf-8")
    feedback = read_feedback(path, bad_rows="skip")
    assert feedback == Feedback((Rating("A", "a", (1.0,)),))
    assert {row.line: row.problem for row in feedback.bad_rows} == COMPLAINTS
    assert feedback.n_repeated == 1


def test_rows_of_the_wrong_width_are_bad(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('completion,rating\na,1\nb\n\n"c, d",2,3\n', encoding="utf-8")
    feedback = read_feedback(tmp_path / "a.csv", bad_rows="skip")
    assert [(row.line, row.problem) for row in feedback.bad_rows] == [
        (3, "expected 2 columns as in the header, got 1"),
        (5, "expected 2 columns as in the header, got 3"),
    ]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("a.xlsx", ValueError, "feedback must be a .jsonl, .csv, .tsv file or a data set, got 'a.xlsx'."),
        ("none.csv", FileNotFoundError, "There is no file of feedback none.csv (looked for {here}/none.csv)."),
    ],
)
def test_other_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: type[Exception], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as caught:
        read_feedback(name)
    assert str(caught.value) == message.format(here=tmp_path)


def test_raters_are_weighted_and_left_out() -> None:
    feedback = read_feedback(RATINGS).with_rater_weights({"bob": 3.0})
    assert feedback.ratings[0].rating == pytest.approx((4 + 3 * 5) / 4)
    assert [one.weight for one in feedback.ratings] == [2.0, 1.0]
    alone = read_feedback(RATINGS).with_rater_weights({"ann": 0.0})
    assert [(one.completion, one.ratings) for one in alone.ratings] == [("of joy", (5.0,))]
    with pytest.raises(ValueError, match="cyd") as caught:
        feedback.with_rater_weights({"cyd": 1.0})
    assert str(caught.value) == "There is no rater 'cyd'; expected one of ann, bob."
