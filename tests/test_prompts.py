"""Prompts from every source, and one clear error for each that cannot be read."""

import json
import logging
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.fakes import byte_tokenizer
from textgym.prompts import BUNDLED_PROMPTS_FILE, load_prompts
from textgym.task import TextTask


def test_a_list_of_texts() -> None:
    assert load_prompts(["a", " b\n"]) == [("a", {}), (" b\n", {})]


def test_a_list_of_dicts_keeps_the_other_columns() -> None:
    rows: list[dict[str, Any]] = [{"prompt": "a", "answer": 1}, {"answer": None, "prompt": "b"}]
    assert load_prompts(rows) == [("a", {"answer": 1}), ("b", {"answer": None})]


class Countdown:
    """Can be read any number of times."""

    def __iter__(self) -> Iterator[str]:
        return (str(number) for number in (3, 2, 1))


def test_anything_that_can_be_read_more_than_once() -> None:
    assert load_prompts(Countdown()) == [("3", {}), ("2", {}), ("1", {})]


def test_a_data_set_of_the_datasets_library() -> None:
    datasets = pytest.importorskip("datasets", reason="the datasets library is not installed")
    rows = {"prompt": ["a", "b"], "answer": ["x", None]}
    expected = [("a", {"answer": "x"}), ("b", {"answer": None})]
    assert load_prompts(datasets.Dataset.from_dict(rows)) == expected
    assert load_prompts(datasets.Dataset.from_dict(rows).to_iterable_dataset()) == expected
    splits = datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows)})
    with pytest.raises(TypeError) as error:
        load_prompts(splits)
    assert str(error.value) == (
        "prompts must be a list or one data set, got a DatasetDict with the keys ['train']; pass one of its values."
    )


def test_a_table_of_pandas_is_read_by_its_rows() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    table = pandas.DataFrame({"prompt": ["a", "b"], "answer": ["x", None], "weight": [1.5, float("nan")]})
    (first, first_columns), (second, second_columns) = load_prompts(table)
    assert (first, first_columns) == ("a", {"answer": "x", "weight": 1.5})
    assert (second, list(second_columns)) == ("b", ["answer", "weight"])
    assert math.isnan(cast(float, second_columns["weight"]))


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.txt", "first\r\nzweite é\n"),
        ("p.txt", "\ufefffirst\nzweite é"),
        ("p.jsonl", '{"prompt": "first"}\n{"prompt": "zweite é"}\n'),
        ("p.csv", "prompt\nfirst\nzweite é\n"),
    ],
)
def test_files_of_prompts(tmp_path: Path, name: str, text: str) -> None:
    path = write(tmp_path, name, text)
    assert load_prompts(path) == load_prompts(str(path)) == [("first", {}), ("zweite é", {})]


def test_jsonl_and_csv_keep_the_other_columns_and_line_breaks_within_a_prompt(tmp_path: Path) -> None:
    jsonl = write(tmp_path, "p.jsonl", '{"prompt": "a\\nb\u2028c", "answer": [1]}\n')
    table = write(tmp_path, "p.csv", 'answer,prompt\n1,"a\nb\u2028c"\n')
    assert load_prompts(jsonl) == [("a\nb\u2028c", {"answer": [1]})]
    assert load_prompts(table) == [("a\nb\u2028c", {"answer": "1"})]


def test_the_bundled_prompts_are_split_into_training_and_held_out_ones() -> None:
    rows = [json.loads(line) for line in BUNDLED_PROMPTS_FILE.read_text(encoding="utf-8").splitlines()]
    for name, split in (("bundled", "train"), ("bundled:held_out", "held_out")):
        expected = [(row["prompt"], {"topic": row["topic"]}) for row in rows if row["split"] == split]
        assert load_prompts(name) == expected
        assert expected


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ([], ValueError, "expected at least one prompt, but prompts is empty."),
        ([""], ValueError, "the prompt in item 1 of prompts is empty: ''."),
        (["a", " \n"], ValueError, "the prompt in item 2 of prompts is empty: ' \\n'."),
        (["a", 3], TypeError, "the prompt in item 2 of prompts must be text, got int: 3."),
        (["a", None], TypeError, "the prompt in item 2 of prompts must be text, got NoneType: None."),
        (
            [{"prompt": [{"role": "user"}]}],
            TypeError,
            "the prompt in item 1 of prompts must be text, got list: [{'role': 'user'}].",
        ),
        ([{"text": "a"}], ValueError, "item 1 of prompts has no column 'prompt', only ['text']."),
        (
            [{"prompt": "a", "answer": 1}, {"prompt": "b"}],
            ValueError,
            "every prompt of prompts must have the same columns ['answer'], but 'b' has [].",
        ),
        (
            [{"prompt": "a", "completions": 1}],
            ValueError,
            "prompts has a column 'completions', which is an argument of every reward function; rename the column.",
        ),
        (
            [{"prompt": "a", 1: 2}],
            TypeError,
            "the columns of prompts must have names, as rewards get them by name, got 1.",
        ),
        (7, TypeError, "prompts must be a list, a data set, a file or a name, got int."),
        (b"a", TypeError, "prompts must be a list, a data set, a file or a name, got bytes."),
        (
            frozenset("ab"),
            TypeError,
            (
                "prompts must have an order, got a frozenset, whose order differs from process to process; pass a "
                "list, such as sorted(prompts)."
            ),
        ),
        (
            (text for text in "ab"),
            TypeError,
            (
                "prompts must be readable more than once, got a generator, which is used up after one pass; "
                "pass list(prompts)."
            ),
        ),
        (
            "bundled:heldout",
            ValueError,
            (
                "prompts must be a list, a data set, a .txt, .jsonl, .csv file, or one of ['bundled', "
                "'bundled:held_out'], got 'bundled:heldout'. Did you mean 'bundled:held_out'?"
            ),
        ),
        (
            "Tell me",
            ValueError,
            (
                "prompts must be a list, a data set, a .txt, .jsonl, .csv file, or one of ['bundled', "
                "'bundled:held_out'], got 'Tell me'."
            ),
        ),
        (
            "their_prompts:rows",
            ValueError,
            (
                "Prompts 'their_prompts:rows': there is no module 'their_prompts'. Install it, or run from the folder "
                "that it is in."
            ),
        ),
        (
            "textgym.prompts:BUNDLED_SPLIT",
            ValueError,
            "Prompts 'textgym.prompts:BUNDLED_SPLIT': there is no 'BUNDLED_SPLIT'. Did you mean 'BUNDLED_SPLITS'?",
        ),
    ],
)
def test_a_source_that_cannot_be_used_is_refused(source: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        load_prompts(source)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.txt", "", "expected at least one prompt, but {path} is empty."),
        ("p.txt", "a\n\nb\n", "the prompt in line 2 of {path} is empty: ''."),
        (
            "p.jsonl",
            '{"prompt": "a"}\n["b"]\n',
            'line 2 of {path} must be an object such as {{"prompt": "…"}}, got \'["b"]\'.',
        ),
        (
            "p.jsonl",
            "{'prompt'}\n",
            (
                "line 1 of {path} is not JSON (Expecting property name enclosed in double quotes: line 1 column 2 "
                "(char 1)): \"{{'prompt'}}\"."
            ),
        ),
        ("p.csv", "text\na\n", "line 2 of {path} has no column 'prompt', only ['text']."),
        ("p.csv", "prompt,answer\na\n", "line 2 of {path} must have the header's columns ['prompt', 'answer']."),
        ("p.csv", "prompt,a,a\nb,1,2\n", "the header of {path} must name each column once, got 'a' more than once."),
        ("p.csv", "prompt\na,b\n", "line 2 of {path} must have the header's columns ['prompt']."),
        ("p.csv", 'prompt\n"a', "{path} is not CSV after line 1: unexpected end of data."),
        ("p.csv", "prompt\n", "expected at least one prompt, but {path} is empty."),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = write(tmp_path, name, text)
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole message is compared)
        load_prompts(path)
    assert str(error.value) == message.format(path=path)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole message is compared)
        load_prompts(path)
    assert str(error.value) == (
        f"{path} must be UTF-8 text: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte."
    )


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    with pytest.raises(FileNotFoundError) as error:
        load_prompts(path)
    assert str(error.value) == f"There is no file of prompts {path} (looked for {path})."


def some_prompts(word: str, number: int = 2) -> list[str]:
    """Return numbered prompts."""
    return [f"{word} {index}" for index in range(number)]


def test_prompts_are_made_by_a_function_with_its_arguments() -> None:
    source = {f"{__name__}:some_prompts": {"word": "film"}}
    assert load_prompts(source) == [("film 0", {}), ("film 1", {})]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            {f"{__name__}:some_prompts": {"words": 3}},
            "are made by some_prompts(word: str, number: int = 2) -> list[str]",
        ),
        (
            f"{__name__}:some_prompts",
            (
                "are made by some_prompts(word: str, number: int = 2) -> list[str], called as some_prompts(): missing "
                "a required argument: 'word'; name a function of prompts, and give what it needs as "
                f'{{"{__name__}:some_prompts": {{"argument": value}}}}.'
            ),
        ),
        ({f"{__name__}:pytest": {}}, "take no arguments: they are no function"),
        ({f"{__name__}:some_prompt": {}}, "Did you mean 'some_prompts'?"),
    ],
)
def test_a_function_of_prompts_that_does_not_fit_is_an_error(source: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        load_prompts(source)


def test_a_prompt_that_is_too_long_is_one_error_and_no_warning_of_the_tokenizer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    prompt = "word " * 300  # beyond the bundled model's context
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    try:
        with pytest.raises(ValueError, match=r"^The prompt .{,250} has 3[0-9]{2} tokens, max_prompt"):
            TextTask(prompts=[prompt], max_prompt_tokens=8)
    finally:
        logger.removeHandler(caplog.handler)
    assert not caplog.records


@pytest.mark.parametrize(
    ("stop", "kind", "message"),
    [
        ([3], TypeError, "stop must hold strings, got [3]."),
        ([""], ValueError, "stop must hold non-empty strings, got ['']."),
    ],
)
def test_stop_strings_are_strings_that_hold_something(stop: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        TextTask(stop=stop)


def test_of_a_prompt_that_is_cut_the_text_is_that_of_its_tokens() -> None:
    tokenizer = byte_tokenizer()
    task = TextTask(tokenizer, ["a天气", "ab<end>"], "ends_sentence", max_prompt_tokens=4, truncate_prompts="left")
    assert [(prompt.text, len(prompt.token_ids)) for prompt in task.prompts] == [("气", 3), ("ab<end>", 3)]
    (prompt,) = TextTask(tokenizer, ["ab<end>"], "ends_sentence", max_prompt_tokens=2, truncate_prompts="left").prompts
    assert prompt.text == "b<end>"
    with pytest.raises(
        ValueError, match=r"^Of the prompt 'ab天' max_prompt_tokens leaves the last 2 tokens, which are no"
    ):
        TextTask(tokenizer, ["ab天"], "ends_sentence", max_prompt_tokens=2, truncate_prompts="left")


@pytest.mark.parametrize("name", ["banned_token_ids", "allowed_token_ids"])
def test_tokens_that_could_be_read_only_once_are_refused(name: str) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be readable more than once, got a generator, .* pass list"):
        TextTask(**{name: (token for token in [1, 2])})  # type: ignore[arg-type]
