"""The model that people chat with: what it is given to go on with, and that a real one answers."""

from pathlib import Path

import pytest

from tests.fakes import byte_tokenizer
from textgym.feedback.answering import ModelAnswerer, to_context
from textgym.feedback.chats import Exchange
from textgym.training.settings import TaskSettings, TrainSettings

CONVERSATION = [Exchange("Hello", " world"), Exchange("天气", "很好")]


def test_a_conversation_is_one_text_with_a_line_for_each_turn() -> None:
    assert to_context(byte_tokenizer(), CONVERSATION, "And then") == "Hello world\n天气很好\nAnd then"


def test_a_chat_template_is_used_where_there_is_one() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{% for one in messages %}[{{ one.role }}:{{ one.content }}]{% endfor %}>"
    assert to_context(tokenizer, CONVERSATION[:1], "So?") == "[user:Hello][assistant: world][user:So?]>"


@pytest.mark.parametrize("said", ["Hello", "a rather long text " * 20])
def test_a_model_answers_within_its_room_and_budget(tiny_model: Path, said: str) -> None:
    """The tiny model has 64 positions of a byte each."""
    answerer = ModelAnswerer(str(tiny_model), TrainSettings(task=TaskSettings(max_new_tokens=16)))
    first, second = answerer([], said), answerer([], said)
    assert first.context == said[-48:]
    assert first.text != second.text  # another draw each time
    assert max(len(first.text), len(second.text)) <= 16
