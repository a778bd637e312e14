"""Tiny vocabularies by name: their tokens, their model, and what is refused."""

import pytest
import torch

from tests.agents.tiny import exactly
from textgym.models import load_language_model, load_tokenizer
from textgym.task import TextTask

NAME = "symbols:ab\n文"


def test_each_character_is_a_token_and_text_comes_back() -> None:
    tokenizer = load_tokenizer(NAME)
    assert tokenizer("b文\na")["input_ids"] == [1, 3, 2, 0]
    assert (len(tokenizer), tokenizer.eos_token_id) == (5, 4)
    assert tokenizer.decode([1, 3, 2, 0]) == "b文\na"


def test_the_model_is_always_the_same_and_no_global_random_number_is_used_up() -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    first, second = load_language_model(NAME), load_language_model(NAME)
    assert torch.equal(torch.rand(3), expected)
    assert first.config.vocab_size == 5
    assert not first.training
    for ours, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("symbols:", "A tiny vocabulary needs at least one character, as in 'symbols:abc>', got 'symbols:'."),
        ("symbols:aba", "The characters of a tiny vocabulary must differ, got 'a' twice in 'symbols:aba'."),
    ],
)
def test_a_wrong_vocabulary_is_refused(name: str, message: str) -> None:
    for load in (load_tokenizer, load_language_model):
        with pytest.raises(ValueError, match=exactly(message)):
            load(name)


def test_a_prompt_of_other_characters_is_refused() -> None:
    message = (
        "The tokenizer cannot encode the prompts (its vocabulary has no 'c', 'd'); use its vocabulary alone, or "
        "another tokenizer."
    )
    with pytest.raises(ValueError, match=exactly(message)):
        TextTask("symbols:ab", ["ab", "dabc"])
