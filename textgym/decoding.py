"""Decode token ids, by a table of bytes where the tokenizer is a byte-level one."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase


class TextDecoder:
    """Turns token ids into text: all of them, special tokens too, without a clean-up of spaces.

    A byte-level tokenizer (GPT-2's, and ours) is a table of bytes, whose entries are joined: 48 tokens in 2 µs,
    where the Rust tokenizer needs 5 to 12 and `transformers` 36. Other fast tokenizers decode by the Rust tokenizer,
    which does not clean up spaces either; tokenizers written in Python by `transformers`.

    Args:
        tokenizer: The tokenizer, which is not changed.
        vocab_size: Its highest token and one, V; None for the number of its tokens.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", vocab_size: int | None = None) -> None:
        from transformers import PreTrainedTokenizerFast

        self._tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer if isinstance(tokenizer, PreTrainedTokenizerFast) else None
        self._bytes = _byte_table(self._backend, vocab_size or len(tokenizer)) if self._backend is not None else None

    def __call__(self, token_ids: Sequence[int]) -> str:
        """Return the text of some tokens, below the size of the vocabulary; bytes that are no UTF-8 become U+FFFD."""
        return self.decode_all([token_ids])[0]

    def decode_all(self, token_ids: Sequence[Sequence[int]]) -> list[str]:
        """Return the texts of N sequences of tokens, length N."""
        if self._bytes is not None:
            table = self._bytes
            return [b"".join([table[each] for each in ids]).decode("utf-8", "replace") for ids in token_ids]
        if self._backend is not None:
            return [str(self._backend.decode(list(ids), skip_special_tokens=False)) for ids in token_ids]
        return [str(self._tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)) for ids in token_ids]


def _byte_table(backend: "Tokenizer", vocab_size: int) -> list[bytes] | None:
    """Return the bytes of each token, length V; None where the decoder is another one."""
    if (json.loads(backend.to_str())["decoder"] or {}).get("type") != "ByteLevel":
        return None
    byte_of = _byte_of_character()
    return [_token_bytes(backend.id_to_token(token_id), byte_of) for token_id in range(vocab_size)]


def _token_bytes(token: str | None, byte_of: dict[str, int]) -> bytes:
    if token is None:
        return b""
    # An added token may hold characters that stand for no byte; it is then text as it is.
    if any(character not in byte_of for character in token):
        return token.encode()
    return bytes(byte_of[character] for character in token)


def _byte_of_character() -> dict[str, int]:
    """Return which byte each character of a byte-level vocabulary stands for.

    Printable bytes of Latin-1 are themselves; the others, in order, are the characters from 256 on.

    Reference:
        `bytes_to_unicode` of GPT-2, Radford et al. (2019), https://github.com/openai/gpt-2.
    """
    is_itself = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in is_itself]
    return {chr(byte): byte for byte in is_itself} | {chr(256 + index): byte for index, byte in enumerate(others)}
