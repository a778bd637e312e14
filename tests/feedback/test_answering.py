"""The model that people chat with: what it is given to go on with, and that a real one answers."""

import shutil
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


@pytest.mark.parametrize("said", ["好" * 40, "a“b”—" * 12, "x" + "天气" * 30, "😀" * 20])
def test_a_conversation_is_cut_between_characters_to_what_there_is_room_for(tiny_model: Path, said: str) -> None:
    """Half a character of several bytes would be read as a whole one, of three."""
    answerer = ModelAnswerer(str(tiny_model), TrainSettings(task=TaskSettings(max_new_tokens=16)))
    context = answerer([], said).context
    assert said.endswith(context)
    assert 44 <= len(context.encode()) <= 48


def test_where_there_is_no_room_for_a_character_it_is_said(tiny_model: Path) -> None:
    answerer = ModelAnswerer(str(tiny_model), TrainSettings(task=TaskSettings(max_new_tokens=62)))
    with pytest.raises(ValueError, match="62 new tokens leave room for 2 of the 64 tokens that the model reads, not"):
        answerer([], "ab好")


def test_a_tokenizer_that_knows_of_less_room_than_the_model_decides(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    tokenizer = byte_tokenizer()
    tokenizer.model_max_length = 32
    tokenizer.save_pretrained(str(folder))
    answerer = ModelAnswerer(str(folder), TrainSettings(task=TaskSettings(max_new_tokens=16)))
    assert answerer([], "abcdefgh" * 5).context == "abcdefgh" * 2


@pytest.mark.parametrize("said", ["Hello", "a rather long text " * 20])
def test_a_model_answers_within_its_room_and_budget(tiny_model: Path, said: str) -> None:
    """The tiny model has 64 positions of a byte each."""
    answerer = ModelAnswerer(str(tiny_model), TrainSettings(task=TaskSettings(max_new_tokens=16)))
    first, second = answerer([], said), answerer([], said)
    assert first.context == said[-48:]
    assert first.text != second.text  # another draw each time
    assert max(len(first.text), len(second.text)) <= 16
