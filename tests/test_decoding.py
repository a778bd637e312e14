"""Decoding by a table of bytes gives what the Rust tokenizer gives."""

import numpy as np
import pytest
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerBase

from tests.agents.tiny import letter_tokenizer
from textgym.decoding import TextDecoder
from textgym.models import load_tokenizer

TEXTS = ["the film", " 机器学习 – naïve\t🙂\n", "<|endoftext|>", "", "\N{REPLACEMENT CHARACTER} \x00\x7f\xa0\xad"]


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer()


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_given_back(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    assert TextDecoder(tokenizer)(tokenizer.encode(text, add_special_tokens=False)) == text


def test_random_tokens_decode_as_by_the_rust_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    """Most of these are no UTF-8, whose broken parts both have to replace alike."""
    tokenizer.add_tokens(["机器 学习", AddedToken("<turn>", special=True)])
    decode, generator = TextDecoder(tokenizer), np.random.default_rng(0)
    vocabulary = np.arange(len(tokenizer))
    single_bytes = vocabulary[:257]
    for pool in (vocabulary, single_bytes):
        for _ in range(500):
            ids = generator.choice(pool, size=generator.integers(1, 40)).tolist()
            assert decode(ids) == tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False)
            assert decode.decode_all([ids, [], ids[:1]]) == [decode(ids), "", decode(ids[:1])]
    assert decode(vocabulary[-2:].tolist()) == "机器 学习<turn>"
    with pytest.raises(IndexError):
        decode([len(tokenizer)])


def test_a_tokenizer_that_is_not_byte_level_decodes_by_its_own_rules() -> None:
    tokenizer = letter_tokenizer()
    assert TextDecoder(tokenizer)([0, 10, 11]) == tokenizer.decode([0, 10, 11]) == "ak<end>"
    assert TextDecoder(tokenizer).decode_all([[0, 10], [11]]) == ["ak", "<end>"]
