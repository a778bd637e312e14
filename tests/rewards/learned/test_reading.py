"""Feedback is read from every format, and no bad row is used silently."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
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


def test_white_space_around_a_text_does_not_make_it_another() -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "A", "completion": " so", "rating": 2},
        {"prompt": "A ", "completion": "so\n", "rating": 2},
        {"prompt": "A", "chosen": "b", "rejected": "c"},
        {"prompt": "A", "chosen": " b", "rejected": "c "},
    ]
    feedback = read_feedback(rows)
    assert feedback.ratings == (Rating("A", " so", (2.0,)),)
    assert feedback.preferences == (Preference("A", "b", "c"),)
    assert feedback.n_repeated == 2
    rows[1]["rating"], rows[3]["chosen"], rows[3]["rejected"] = 5, "c", "b "
    rows.append({"prompt": "A", "chosen": "d", "rejected": "d "})
    with pytest.raises(FeedbackError) as caught:
        read_feedback(rows)
    assert [row.line for row in caught.value.bad_rows] == [1, 2, 3, 4, 5]


def test_several_peoples_ratings_are_not_one_raters() -> None:
    rows: list[dict[str, Any]] = [{"completion": "a", "ratings": [3], "rater": "ann"}]
    assert read_feedback(rows).ratings[0].raters == ("ann",)
    rows.append({"completion": "b", "ratings": "1 2", "rater": "ann"})
    with pytest.raises(FeedbackError, match="ratings are 2 people's, but rater names 'ann'"):
        read_feedback(rows)


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
    again = feedback.with_rater_weights({"ann": 0.5})
    at_once = read_feedback(RATINGS).with_rater_weights({"ann": 0.5, "bob": 3.0})
    assert again.ratings == at_once.ratings
    assert again.preferences == at_once.preferences
    assert feedback.with_rater_weights({}).ratings == feedback.ratings
    alone = read_feedback(RATINGS).with_rater_weights({"ann": 0.0})
    assert [(one.completion, one.ratings) for one in alone.ratings] == [("of joy", (5.0,))]
    with pytest.raises(ValueError, match="cyd") as caught:
        feedback.with_rater_weights({"cyd": 1.0})
    assert str(caught.value) == "There is no rater 'cyd'. Expected one of ann, bob."
    with pytest.raises(
        ValueError, match=r"^The raters' weights leave no feedback; one of them at least must be above 0"
    ):
        feedback.with_rater_weights({"ann": 0, "bob": 0})


@pytest.mark.parametrize("rating", ["1_0", "nan", "NaN", "inf", "-Infinity", "1e999", "five", "1,5", ""])
def test_what_only_python_takes_for_a_rating_is_a_bad_row(tmp_path: Path, rating: str) -> None:
    (tmp_path / "a.tsv").write_text(f"completion\trating\nfine\t1\nbad\t{rating}\n", encoding="utf-8")
    (bad,) = read_feedback(tmp_path / "a.tsv", bad_rows="skip").bad_rows
    expected = f"rating must be a finite number, got {rating!r}" if rating else "has no rating"
    assert (bad.line, bad.problem) == (3, expected)
    with pytest.raises(FeedbackError, match=f"line 3: {expected}"):
        read_feedback(tmp_path / "a.tsv")


def test_an_underscore_within_a_list_of_ratings_is_bad_too() -> None:
    rows = [{"completion": "a", "ratings": "1 2_0"}, {"completion": "b", "ratings": "[1, 2]"}]
    feedback = read_feedback(rows, bad_rows="skip")
    assert [row.problem for row in feedback.bad_rows] == ["ratings must be a finite number, got '2_0'"]


@pytest.mark.parametrize("margin", [-2.0, "-0.5", "nan", "inf", "1_0", "much"])
def test_a_margin_is_a_number_of_at_least_0(margin: object) -> None:
    rows = [{"chosen": "a", "rejected": "b", "margin": margin}, {"chosen": "a", "rejected": "c", "margin": 0}]
    feedback = read_feedback(rows, bad_rows="skip")
    assert feedback.preferences == (Preference("", "a", "c", 0.0),)
    (bad,) = feedback.bad_rows
    assert bad == (
        1, "margin that is no number of at least 0", f"margin must be a finite number of at least 0, got {margin!r}"
    )  # fmt: skip


def test_repeated_rows_with_another_margin_or_comment_disagree() -> None:
    pair = {"chosen": "a", "rejected": "b"}
    rows: list[dict[str, Any]] = [
        {**pair, "margin": 1},
        {**pair, "margin": 2},
        {**pair, "rater": "ann", "comment": "warm"},
        {**pair, "rater": "ann", "comment": "dull"},
        {"completion": "c", "rating": 1, "comment": "warm"},
        {"completion": "c", "rating": 1, "comment": "dull"},
        {**pair, "rater": "bob", "margin": 3, "comment": "warm"},
        {**pair, "rater": "bob", "margin": "3.0", "comment": "warm"},
    ]
    feedback = read_feedback(rows, bad_rows="skip")
    assert feedback.preferences == (Preference("", "a", "b", 3.0, rater="bob", comment="warm"),)
    assert (feedback.ratings, feedback.n_repeated) == ((), 1)
    assert [(row.line, row.problem) for row in feedback.bad_rows] == [
        (1, "gives another margin for the same text than line 2"),
        (2, "gives another margin for the same text than line 1"),
        (3, "gives another comment for the same text than line 4"),
        (4, "gives another comment for the same text than line 3"),
        (5, "gives another comment for the same text than line 6"),
        (6, "gives another comment for the same text than line 5"),
    ]
    with pytest.raises(FeedbackError, match="6 × duplicate that disagrees"):
        read_feedback(rows)


def test_texts_without_a_prompt_may_have_an_empty_column_for_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,completion,rating\n,fine,1\n,bad,2\nA,so,3\n", encoding="utf-8")
    assert [(one.prompt, one.completion) for one in read_feedback(tmp_path / "a.csv").ratings] == [
        ("", "fine"), ("", "bad"), ("A", "so"),
    ]  # fmt: skip
    (tmp_path / "b.csv").write_text("prompt,chosen,rejected\n,fine,bad\n", encoding="utf-8")
    assert read_feedback(tmp_path / "b.csv").preferences == (Preference("", "fine", "bad"),)
    rows: list[dict[str, Any]] = [
        {"prompt": None, "completion": "fine", "rating": 1},
        {"completion": "bad", "rating": 2},
    ]
    assert [one.prompt for one in read_feedback(rows).ratings] == ["", ""]
    mixed = read_feedback([*rows, {"prompt": "", "completion": "so", "rating": 3}], bad_rows="skip")
    assert [row.problem for row in mixed.bad_rows] == ["has no prompt", "has no prompt"]


def test_raters_may_have_numbers_for_names() -> None:
    rows: list[dict[str, Any]] = [
        {"completion": "a", "rating": 1, "rater": 7},
        {"completion": "a", "rating": 2.0, "rater": 8},
    ]
    assert read_feedback(rows).ratings == (Rating("", "a", (1.0, 2.0), ("7", "8")),)
    # A column of a pandas table with a gap in it.
    rows = [{"completion": "a", "rating": 1, "rater": 7.0}, {"completion": "b", "rating": 2, "rater": float("nan")}]
    assert [rating.raters for rating in read_feedback(rows).ratings] == [("7",), ()]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"completion": "b", "rating": 1, "rating": 5}', "not JSON: 'rating' is given twice"),
        ('{"completion": "b", "ratings": [1, 2], "rating": 5}', "has both rating and ratings"),
        ('{"completion": "b", "rating": ' + "[" * 100_000 + "}", "not JSON: "),
        ('{"completion": "b", "rating": ' + "1" * 5_000 + "}", "not JSON: "),
    ],
    ids=["repeated", "both", "deep", "long"],
)
def test_a_line_that_contradicts_itself_or_breaks_the_reader_is_named(tmp_path: Path, line: str, problem: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"completion": "a", "rating": 1}}\n{line}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(f"line 2: {problem}")):
        read_feedback(tmp_path / "a.jsonl")


FILMS = [
    {"id": 1, "domain": "movie", "text": "fine", "rating": 1},
    {"id": 2, "domain": "product", "text": "bad", "rating": 2},
]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {},
            (
                "the feedback has no column 'completion'. It has id, domain, text, rating. Needed are completion and "
                "rating (or ratings), or chosen and rejected; say what it calls them: columns={'completion': NAME}, "
                "on the command line --column completion=NAME."
            ),
        ),
        (
            {"columns": {"completion": "txt"}},
            "the feedback has no column 'txt'. Did you mean 'text'? It has id, domain, text, rating.",
        ),
        (
            {"columns": {"completion": "text", "ratngs": "rating"}},
            (
                "columns must name some of the fields prompt, completion, rating, ratings, rater, comment, chosen, "
                "rejected, margin, got 'ratngs'. Did you mean 'ratings'?"
            ),
        ),
        (
            {"columns": {"completion": "text"}, "only": {"domian": "movie"}},
            "the feedback has no column 'domian'. Did you mean 'domain'? It has id, domain, text, rating.",
        ),
        (
            {"columns": {"completion": "text"}, "only": {"domain": "movies"}},
            "the feedback has no row whose domain is 'movies'. Did you mean 'movie'? It has 'movie', 'product'.",
        ),
        ({"bad_rows": "skp"}, "bad_rows must be 'refuse' or 'skip', got 'skp'. Did you mean 'skip'?"),
    ],
)
def test_wrong_names_are_refused_once_and_not_row_by_row(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message[:12]) as caught:
        read_feedback(FILMS, **arguments)
    assert str(caught.value) == message


def test_rows_are_chosen_by_numbers_as_by_text() -> None:
    only: Any = {"id": 2}
    assert [one.completion for one in read_feedback(FILMS, columns={"completion": "text"}, only=only).ratings] == [
        "bad"
    ]


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        (None, {}, "feedback must be a .jsonl, .csv or .tsv file, a list of rows or one data set, got None."),
        (5, {}, "feedback must be a .jsonl, .csv or .tsv file, a list of rows or one data set, got a int."),
        (FILMS[0], {}, "feedback must be a .jsonl, .csv or .tsv file, a list of rows or one data set, got a dict."),
        (
            ["A joy.", "A bore."],
            {},
            (
                "feedback must have rows that are mappings, such as {'completion': 'A joy.', 'rating': 5}; in this "
                "list none is. Of a pandas DataFrame they are frame.to_dict('records')."
            ),
        ),
        (
            FILMS,
            {"columns": "completion=text"},
            "columns must be a mapping such as {'completion': 'text'}, got 'completion=text' of type str.",
        ),
        (FILMS, {"only": ["movie"]}, "only must be a mapping such as {'domain': 'movie'}, got ['movie'] of type list."),
    ],
)
def test_wrong_types_are_refused(source: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        read_feedback(source, **arguments)
    assert str(caught.value) == message


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("completion,rating,rating\na,1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"must give each column a name of its own, 'rating' occurs more than once\.$"):
        read_feedback(tmp_path / "a.csv")


def test_empty_lines_are_no_rows_and_the_case_of_a_files_name_does_not_matter(tmp_path: Path) -> None:
    row = json.dumps(RATINGS[0])
    (tmp_path / "a.JSONL").write_text(f"\n{row}\n  \n{{}}\n\n", encoding="utf-8")
    feedback = read_feedback(tmp_path / "a.JSONL", bad_rows="skip")
    assert [one.completion for one in feedback.ratings] == ["of joy"]
    assert [(bad.line, bad.problem) for bad in feedback.bad_rows] == [(4, "has no prompt")]


def test_a_table_may_hold_ratings_and_preferences(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "completion,rating,chosen,rejected\na,1,,\n,,b,c\na,1,b,\n,,b,\n,,,\n", encoding="utf-8"
    )
    feedback = read_feedback(tmp_path / "a.csv", bad_rows="skip")
    assert feedback == Feedback((Rating("", "a", (1.0,)),), (Preference("", "b", "c"),))
    assert [(bad.line, bad.kind, bad.problem) for bad in feedback.bad_rows] == [
        (4, "rating and preference in one row", "has completion and chosen; a row is a rating or a preference"),
        (5, "missing field", "rejected is empty"),
        (6, "missing field", "completion is empty"),
    ]


def test_numpys_numbers_and_pandas_missing_values_are_read_as_those_of_a_file() -> None:
    rows: list[dict[str, Any]] = [
        {"completion": "a", "ratings": np.array([1.0, 2.0]), "comment": float("nan")},
        {"completion": "b", "ratings": float("nan"), "rating": np.float32(0.5), "rater": np.int64(7)},
        {"completion": "c", "ratings": None, "rating": np.nan},
    ]
    feedback = read_feedback(rows, bad_rows="skip")
    assert feedback.ratings == (Rating("", "a", (1.0, 2.0)), Rating("", "b", (0.5,), ("7",)))
    assert [bad.problem for bad in feedback.bad_rows] == ["has no rating"]


@pytest.mark.parametrize("form", ["numpy", "torch"])
def test_a_data_set_in_the_format_of_numpy_or_torch_is_read(form: str) -> None:
    datasets = pytest.importorskip("datasets", reason="the datasets library is not installed")
    table = datasets.Dataset.from_dict({"completion": ["a", "b"], "ratings": [[1, 2], [3]]}).with_format(form)
    assert read_feedback(table).ratings == (Rating("", "a", (1.0, 2.0)), Rating("", "b", (3.0,)))


def test_a_missing_rating_is_named_by_its_column() -> None:
    rows = [{"completion": "a", "all": "1 2"}, {"completion": "b", "all": ""}]
    feedback = read_feedback(rows, columns={"ratings": "all"}, bad_rows="skip")
    assert [bad.problem for bad in feedback.bad_rows] == ["has no all"]


def test_an_open_quote_says_which_lines_it_takes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('completion,rating\na,1\n"b,2\nc,3\nd,4\n', encoding="utf-8")
    feedback = read_feedback(tmp_path / "a.csv", bad_rows="skip")
    assert [one.completion for one in feedback.ratings] == ["a"]
    assert [(bad.line, bad.problem) for bad in feedback.bad_rows] == [
        (5, "not CSV: unexpected end of data; the row goes from line 3 to 5")
    ]


@pytest.mark.parametrize("beside", ["rating", "ratings"])
def test_a_preference_that_is_rated_too_is_a_bad_row(beside: str) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "a", "chosen": "b", "rejected": "c", "margin": 1, beside: None},
        {"prompt": "a", "chosen": "q", "rejected": "r", beside: 3},
        {"prompt": "a", "completion": "q", beside: 3, "margin": 1},
    ]
    with pytest.raises(FeedbackError) as caught:
        read_feedback(rows)
    problems = [row.problem for row in caught.value.bad_rows]
    assert problems == [
        f"has {beside} and chosen; a row is a rating or a preference",
        "has completion and margin; a row is a rating or a preference",
    ]


def test_every_bad_row_is_named_by_its_line(tmp_path: Path) -> None:
    lines = ['{"completion": "a", "rating": 1}' if place % 10 == 3 else "{" for place in range(40)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(
        FeedbackError, match=r"\n  line 1: .*\n  line 2: .*(\n.*)*\n  and 16 more, in lines 23, 25-33, 35"
    ):
        read_feedback(tmp_path / "a.jsonl")
