"""Texts as tokens for a reward network, and batches of nearly equal length, so that hardly any padding is computed."""

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from textgym.joining import join_texts

POOL_BATCHES = 16


class TokenBatch(NamedTuple):
    """Right-padded tokens of N texts.

    Attributes:
        input_ids: Shape (N, T), int64.
        attention_mask: 1 at tokens, 0 at padding, shape (N, T), int64.
    """

    input_ids: Tensor
    attention_mask: Tensor


def encode_texts(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    completions: Sequence[str],
    comments: Sequence[str],
    max_tokens: int,
) -> list[list[int]]:
    """Return the token ids of N texts: prompt and completion as one segment (`join_text`), the comment as another.

    An encoder's tokenizer joins segments as it does (`[CLS] text [SEP] comment [SEP]`). One that has no separator, as
    GPT-2's, gets its end of sequence after each, at which the network reads the score. What is too long loses the
    beginning of its prompt and completion, and then of its comment.

    Args:
        tokenizer: The backbone's; not changed.
        prompts: Length N.
        completions: Length N.
        comments: Length N, "" for none.
        max_tokens: Longest sequence, special tokens included.
    """
    texts = tokenizer(join_texts(prompts, completions), add_special_tokens=False, verbose=False)["input_ids"]
    notes = tokenizer(list(comments), add_special_tokens=False, verbose=False)["input_ids"]
    return [_join(tokenizer, text, note, max_tokens) for text, note in zip(texts, notes, strict=True)]


def _join(tokenizer: PreTrainedTokenizerBase, text: list[int], note: list[int], max_tokens: int) -> list[int]:
    first = [] if tokenizer.cls_token_id is None else [tokenizer.cls_token_id]
    last = [tokenizer.eos_token_id if tokenizer.sep_token_id is None else tokenizer.sep_token_id]
    n_special = len(first) + len(last) * (2 if note else 1)
    room = max(max_tokens - n_special, 1)
    note = note[max(0, len(note) - room // 2) :]
    text = text[max(0, len(text) - (room - len(note))) :]
    return [*first, *text, *last, *note, *last] if note else [*first, *text, *last]


def pad(sequences: Sequence[Sequence[int]], pad_token_id: int, device: torch.device) -> TokenBatch:
    """Pad N sequences on the right to the longest."""
    length = max(map(len, sequences))
    input_ids = torch.full((len(sequences), length), pad_token_id)
    attention_mask = torch.zeros((len(sequences), length), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        input_ids[row, : len(sequence)] = torch.tensor(sequence)
        attention_mask[row, : len(sequence)] = 1
    return TokenBatch(input_ids.to(device), attention_mask.to(device))


def sorted_batches(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Yield the indices of all items in batches, longest first, so that a batch that does not fit fails at once."""
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def shuffled_batches(lengths: Sequence[int], batch_size: int, generator: random.Random) -> list[list[int]]:
    """Return the indices of all items in batches of similar length, in random order.

    Items are shuffled, sorted by length within pools of some batches, and the batches shuffled: nearly as little
    padding as by sorting all, while items still meet others in each epoch.
    """
    order = list(range(len(lengths)))
    generator.shuffle(order)
    batches = []
    for start in range(0, len(order), batch_size * POOL_BATCHES):
        pool = sorted(order[start : start + batch_size * POOL_BATCHES], key=lambda index: lengths[index])
        batches += [pool[first : first + batch_size] for first in range(0, len(pool), batch_size)]
    generator.shuffle(batches)
    return batches
