"""Instructions and examples beside the work: given by the owner, shown to raters, in their language."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import inspect

from tests.cli.conftest import run_command
from tests.feedback.conftest import older_store
from tests.feedback.test_server import visit
from textgym.feedback.examples import read_examples
from textgym.feedback.importing import ImportRefusedError
from textgym.feedback.store import FeedbackStore

RATED = {"prompt": "The film", "completion": " was a <b>joy</b>.", "score": 5, "comment": "It says so."}
COMPARED = {"prompt": "The film", "completion_a": " was.", "completion_b": " was a joy.", "preference": "b"}
CHATTED = {"said": "Hello", "answer": "Hm.", "rewriting": "Hello! What can I do for you?"}
CHINESE = {"prompt": "这部电影", "completion": "很好看。", "quality": "good", "language": "zh"}
EXAMPLES = (RATED, COMPARED, CHATTED, CHINESE)


def write_examples(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def guided(tmp_path: Path) -> FeedbackStore:
    """A store that was there before its owner gave instructions and examples."""
    place, words = tmp_path / "feedback.db", tmp_path / "words.txt"
    FeedbackStore(place).close()
    words.write_text("Short is good.\n短的更好。", encoding="utf-8")
    examples = write_examples(tmp_path / "examples.jsonl", *EXAMPLES)
    result = run_command("feedback", "guide", str(place), "--instructions", str(words), "--examples", str(examples))
    assert result.exit_code == 0, result.output
    return FeedbackStore(place)


def shown(client: TestClient, tab: str, language: str = "en") -> str:
    """The examples of a page, without its tags."""
    page = client.get(f"/{tab}?language={language}").text
    found = re.search(r'<details id="examples".*?</details>', page, re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", found.group()).split()) if found else ""


def test_each_tab_shows_its_own_examples_as_text(tmp_path: Path) -> None:
    store = guided(tmp_path)
    with visit(store) as client:
        assert shown(client, "rate") == ("Examples The film was a &lt;b&gt;joy&lt;/b&gt;. Score 5 It says so.")
        assert shown(client, "compare") == "Examples The film A was. B was a joy. Which is better? B"
        assert shown(client, "chat") == "Examples Hello Hm. Hello! What can I do for you?"
        assert "Short is good.\n短的更好。" in client.get("/rate").text
    store.close()


def test_an_example_of_one_language_is_for_those_who_read_it(tmp_path: Path) -> None:
    store = guided(tmp_path)
    with visit(store) as client:
        assert "很好看" not in shown(client, "rate")
        assert shown(client, "rate", "zh").endswith("这部电影 很好看。 总体印象 好")
        assert shown(client, "rate", "zh").startswith("示例")
    store.close()


def test_where_there_are_no_examples_none_are_announced(tmp_path: Path, sqlite_store: FeedbackStore) -> None:
    with visit(sqlite_store) as client:
        assert 'id="examples"' not in client.get("/rate").text


def test_what_raters_read_is_told_and_an_empty_file_takes_it_away(tmp_path: Path) -> None:
    store = guided(tmp_path)
    told = run_command("feedback", "guide", store.place)
    assert told.output == (
        "Instructions:\nShort is good.\n短的更好。\n\nExamples: 2 to rate, 1 to compare, 1 of a conversation.\n"
    )
    (tmp_path / "empty.jsonl").write_text("", encoding="utf-8")
    taken = run_command("feedback", "guide", store.place, "--examples", str(tmp_path / "empty.jsonl"))
    assert taken.output.endswith("Examples: none.\n")
    assert store.project().instructions == "Short is good.\n短的更好。"
    assert store.project().examples == []
    store.close()


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": "p", "completion": "c"}, "an example to rate must say what is right: score or quality"),
        ({"prompt": "p", "completion": "c", "score": 9}, "score must be a whole number from 1 to 5, got 9"),
        ({"prompt": "p", "completion": "c", "quality": "superb"},
         "quality must be one of good, fair, bad, got 'superb'"),
        ({"prompt": "p", "score": 3}, "completion must be text, got None"),
        ({**COMPARED, "preference": "c"}, "preference must be one of a, b, tie, both_bad, got 'c'"),
        ({**RATED, "language": "fr"}, "language must be one of en, zh, got 'fr'"),
        ({**RATED, "why": "x"},
         ("an example to rate has no why; expected prompt, completion, score, quality, comment, language")),
    ],
)  # fmt: skip
def test_an_example_that_cannot_be_used_is_named_by_its_line(tmp_path: Path, row: dict[str, Any], problem: str) -> None:
    path = write_examples(tmp_path / "examples.jsonl", RATED, row)
    with pytest.raises(ImportRefusedError) as caught:
        read_examples(path, 1, 5)
    assert caught.value.problems == [(2, problem)]


def test_examples_may_be_a_table(tmp_path: Path) -> None:
    path = tmp_path / "examples.csv"
    path.write_text("prompt,completion,score,quality,comment\np,c,4,,\n", encoding="utf-8")
    assert read_examples(path, 1, 5) == [{"tab": "rate", "prompt": "p", "completion": "c", "score": 4}]


def test_a_store_of_the_first_version_is_given_room_for_examples(tmp_path: Path) -> None:
    place = tmp_path / "feedback.db"
    with older_store(str(place), "001") as connection:
        assert "examples" not in [column["name"] for column in inspect(connection).get_columns("projects")]
    store = FeedbackStore(place)
    assert store.project().examples == []
    store.close()


def test_a_scale_does_not_change_under_examples_with_scores(tmp_path: Path) -> None:
    place = str(tmp_path / "s.db")
    with FeedbackStore(place).writing():
        pass
    for rows in ((RATED,), (COMPARED, CHATTED)):
        write_examples(tmp_path / "examples.jsonl", *rows)
        assert run_command("feedback", "guide", place, "--examples", tmp_path / "examples.jsonl").exit_code == 0
        write_examples(tmp_path / "in.jsonl", {"prompt": "A", "completion": "b"})
        result = run_command("feedback", "import", place, tmp_path / "in.jsonl", "--scale", 1, 10)
        assert result.exit_code == (2 if rows == (RATED,) else 0), result.output
        if rows == (RATED,):
            assert "the store's examples have scores of its scale, 1 to 5; take them out first" in result.stderr
