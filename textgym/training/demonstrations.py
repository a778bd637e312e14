"""Demonstrations, prompts with the completions to be learned, as tokens packed into rows of one length."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from textgym.joining import spaced
from textgym.models import encode_texts
from textgym.prompts import load_prompts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NO_DEMONSTRATION = -1
MOST_QUOTED = 20  # characters of a word


class Demonstration(NamedTuple):
    """A completion to be learned.

    Attributes:
        token_ids: Prompt, completion and end of sequence.
        n_prompt: How many of them are the prompt, at least 1.
    """

    token_ids: tuple[int, ...]
    n_prompt: int


class PackedRows(NamedTuple):
    """R rows of L tokens, each row holding one demonstration after the other.

    Attributes:
        input_ids: Token ids, shape (R, L).
        position_ids: Position of each token in its own demonstration, shape (R, L).
        demonstration: Which demonstration of its row a token belongs to, −1 at padding, shape (R, L).
        is_learned: True at tokens of completions, shape (R, L).
    """

    input_ids: Tensor
    position_ids: Tensor
    demonstration: Tensor
    is_learned: Tensor

    def is_attended(self) -> Tensor:
        """Return where a token sees another: not after itself, and not in another demonstration, shape (R, L, L)."""
        length = self.input_ids.shape[1]
        is_same = self.demonstration[:, :, None] == self.demonstration[:, None, :]
        return is_same & torch.ones(length, length, dtype=torch.bool, device=is_same.device).tril()

    def to(self, device: torch.device) -> "PackedRows":
        """Return the rows on another device."""
        return PackedRows(*(tensor.to(device) for tensor in self))


def load_demonstrations(
    source: str | Path, tokenizer: "PreTrainedTokenizerBase", context_length: int
) -> list[Demonstration]:
    """Read demonstrations.

    Args:
        source: A .jsonl or .csv file with the columns `prompt` and `completion` (TRL's).
        tokenizer: Whose tokens they become. Prompt and completion are tokenized apart, as a policy that goes on with
            a prompt meets them, and without tokens that the tokenizer would add; no space is put between, but words
            that run together are warned of.
        context_length: The most tokens that a demonstration may have.

    Returns:
        The demonstrations in the order of the file, each ending with the end of sequence.

    Raises:
        ValueError: If the file cannot be read as such, a completion is missing or empty, the tokenizer has no tokens
            for a text, or a demonstration is longer.
        FileNotFoundError: If there is no such file.
    """
    if not Path(source).is_file():
        raise FileNotFoundError(f"There is no file of demonstrations {source} (looked for {Path(source).absolute()}).")
    prompts, completions, run_together = [], [], []
    for number, (prompt, columns) in enumerate(load_prompts(source), start=1):
        completion = columns.get("completion")
        if not isinstance(completion, str) or not completion:
            raise ValueError(
                f"row {number} of {source} must have a completion, got {completion!r}; expected the columns prompt and "
                "completion."
            )
        if spaced(prompt, completion) != completion:
            run_together.append(f"{_end_of(prompt)}{_start_of(completion)}")
        prompts.append(prompt)
        completions.append(completion)
    demonstrations = []
    ids = encode_texts(tokenizer, prompts, "prompts"), encode_texts(tokenizer, completions, "completions")
    for number, (prompt_ids, completion_ids) in enumerate(zip(*ids, strict=True), start=1):
        token_ids = (*prompt_ids, *completion_ids, int(tokenizer.eos_token_id))
        if len(token_ids) > context_length:
            raise ValueError(
                f"row {number} of {source} has {len(token_ids)} tokens, more than the {context_length} that the model "
                "has room for; shorten it."
            )
        demonstrations.append(Demonstration(token_ids, len(prompt_ids)))
    if run_together:
        warnings.warn(
            f"In {len(run_together)} of {len(demonstrations)} demonstrations in {source} the completion follows "
            f"without a space, as in {run_together[0]!r}; begin it with one where it is a new word.",
            stacklevel=2,
        )
    return demonstrations


def _end_of(prompt: str) -> str:
    """Return a prompt's last word, cut where it is long."""
    return prompt.rsplit(maxsplit=1)[-1][-MOST_QUOTED:]


def _start_of(completion: str) -> str:
    return completion.split(maxsplit=1)[0][:MOST_QUOTED]


def pack(demonstrations: Sequence[Demonstration], length: int, pad_token_id: int) -> PackedRows:
    """Put demonstrations into as few rows as first fit, longest first, finds.

    Args:
        demonstrations: None longer than a row.
        length: Tokens a row, L.
        pad_token_id: Fills what is left of a row.
    """
    rows: list[list[Demonstration]] = []
    room: list[int] = []
    for one in sorted(demonstrations, key=lambda one: len(one.token_ids), reverse=True):
        row = next((row for row, left in enumerate(room) if len(one.token_ids) <= left), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(length)
        rows[row].append(one)
        room[row] -= len(one.token_ids)
    packed = PackedRows(
        torch.full((len(rows), length), pad_token_id),
        torch.zeros((len(rows), length), dtype=torch.long),
        torch.full((len(rows), length), NO_DEMONSTRATION),
        torch.zeros((len(rows), length), dtype=torch.bool),
    )
    for row, members in enumerate(rows):
        start = 0
        for number, one in enumerate(members):
            end = start + len(one.token_ids)
            packed.input_ids[row, start:end] = torch.tensor(one.token_ids)
            packed.position_ids[row, start:end] = torch.arange(end - start)
            packed.demonstration[row, start:end] = number
            packed.is_learned[row, start + one.n_prompt : end] = True
            start = end
    return packed
