"""The prompts that ship with the package: four topics, a quarter held out, and nothing that gives the answer away."""

import json
import re
from collections import Counter
from importlib.resources import files

import pytest

TOPICS = ("films", "science", "work", "public life")


@pytest.fixture(scope="module")
def records() -> list[dict[str, str]]:
    text = (files("textgym") / "bundled" / "prompts.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_each_topic_has_a_hundred_prompts_and_holds_a_quarter_of_them_out(records: list[dict[str, str]]) -> None:
    expected = {(topic, split): count for topic in TOPICS for split, count in (("train", 75), ("held_out", 25))}
    assert Counter((record["topic"], record["split"]) for record in records) == expected


def test_no_prompt_occurs_twice(records: list[dict[str, str]]) -> None:
    assert len({record["prompt"].casefold() for record in records}) == len(records)


def test_every_prompt_is_the_opening_of_a_sentence(records: list[dict[str, str]]) -> None:
    for record in records:
        prompt = record["prompt"]
        assert 4 <= len(prompt.split()) <= 14, prompt
        assert re.fullmatch(r"[A-Z](?!.*  ).*[a-z]", prompt), prompt


def test_no_prompt_gives_a_keyword_of_the_reference_task_away(records: list[dict[str, str]]) -> None:
    hint = re.compile(r"python|machine|learn|\bcode|program|software|comput|algorithm", re.IGNORECASE)
    assert [record["prompt"] for record in records if hint.search(record["prompt"])] == []
