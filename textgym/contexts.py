"""The tokens of B episodes as arrays on one device, and where each one's prompt stops and its text ends."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .task import TextTask

# numpy.ndarray or torch.Tensor, used only by what the Python array API standard says of both.
Array: TypeAlias = Any
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Counts: TypeAlias = npt.NDArray[np.int64]


def array_library(device: torch.device) -> Any:
    """Return numpy for the CPU, where an operation on a small array costs a fifth of torch's; torch for the rest."""
    return np if device.type == "cpu" else torch


def as_numpy(array: Array) -> npt.NDArray[Any]:
    """Return an array as numpy's, from whatever device."""
    converted: npt.NDArray[Any] = array.cpu().numpy() if isinstance(array, Tensor) else array
    return converted


class Contexts:
    """Contexts of B rows, changed in place.

    Args:
        task: The task, for its prompts and sizes.
        num_envs: Number of rows B.
        device: Where the arrays live.

    Attributes:
        observation: The three arrays of an observation, each of shape (B, C); see `TextGenEnv`.
        n_generated: Tokens generated, shape (B,), on the host like all that the rules ask for.
        n_used: Tokens of the budget used up, shape (B,): those generated and one for each forbidden action.
    """

    def __init__(self, task: TextTask, num_envs: int, device: torch.device) -> None:
        library = array_library(device)
        self._is_numpy = library is np  # a module as an attribute would not pickle
        self._device = str(device)
        self._context_length = task.context_length
        shape = (num_envs, task.context_length)
        self.observation = {
            "input_ids": library.full(shape, task.pad_token_id, dtype=library.int64, device=self._device),
            "attention_mask": library.zeros(shape, dtype=library.int8, device=self._device),
            "is_generated": library.zeros(shape, dtype=library.int8, device=self._device),
        }
        self.n_generated = np.zeros(num_envs, dtype=np.int64)
        self.n_used = np.zeros(num_envs, dtype=np.int64)
        self._n_prompt = np.zeros(num_envs, dtype=np.int64)
        # Where each row's completion begins in the flattened arrays: one index costs a fifth of two.
        self._first = np.zeros(num_envs, dtype=np.int64)
        self._pad_token_id = task.pad_token_id
        lengths = np.array([len(prompt.token_ids) for prompt in task.prompts])
        token_ids = np.full((len(lengths), task.context_length), task.pad_token_id, dtype=np.int64)
        for row, prompt in zip(token_ids, task.prompts, strict=True):
            row[: len(prompt.token_ids)] = prompt.token_ids
        is_prompt = np.arange(task.context_length) < lengths[:, None]
        self._prompts = {
            "input_ids": self.array(token_ids),
            "attention_mask": self.array(is_prompt.astype(np.int8)),
        }
        self._prompt_lengths = lengths

    def array(self, values: Any) -> Array:
        """Return values as an array of the contexts' library, on their device."""
        if self._is_numpy:
            return values if isinstance(values, np.ndarray) else np.asarray(as_numpy(values))
        return torch.asarray(values, device=self._device)

    def begin(self, rows: Sequence[int] | npt.NDArray[np.int64], prompts: npt.NDArray[np.int64]) -> None:
        """Replace some rows by prompts.

        Args:
            rows: The rows.
            prompts: For each of them the prompt's index in the task.
        """
        row_ids, prompt_ids = self.array(rows), self.array(prompts)
        for key, prompt_rows in self._prompts.items():
            self.observation[key][row_ids] = prompt_rows[prompt_ids]
        self.observation["is_generated"][row_ids] = 0
        host_rows = np.asarray(rows)
        self._n_prompt[host_rows] = n_prompt = self._prompt_lengths[prompts]
        self._first[host_rows] = host_rows * self._context_length + n_prompt
        self.n_generated[host_rows] = 0
        self.n_used[host_rows] = 0

    def append(self, tokens: Array, is_appended: BoolArray | None, is_playing: BoolArray | None) -> None:
        """Append a token to each row, and use up one token of its budget.

        Args:
            tokens: The tokens, shape (B,).
            is_appended: False where the text is left as it is, None for nowhere; shape (B,).
            is_playing: False where the row is left alone altogether, None for nowhere; shape (B,).
        """
        ids, mask, generated = [array.reshape(-1) for array in self.observation.values()]
        text_end, budget_end = self._first + self.n_generated, self._first + self.n_used
        if is_appended is not None:
            rows = is_appended.nonzero()[0]
            text_end, tokens = text_end[rows], tokens[self.array(rows)]
        if is_playing is not None:
            budget_end = budget_end[is_playing.nonzero()[0]]
        at = self.array(text_end)
        ids[at] = tokens
        mask[at] = 1
        generated[self.array(budget_end)] = 1
        self.n_generated = self.n_generated + (1 if is_appended is None else is_appended)
        self.n_used = self.n_used + (1 if is_playing is None else is_playing)

    def append_to_only_row(self, token: int) -> None:
        """Do what `append` does with one row, at a tenth of its cost."""
        ids, mask, generated = self.observation.values()
        first, n_generated = self._first.item(), self.n_generated.item()
        ids[0, first + n_generated] = token
        mask[0, first + n_generated] = 1
        generated[0, first + self.n_used.item()] = 1
        self.n_generated[0] = n_generated + 1
        self.n_used[0] += 1

    def copy(self) -> dict[str, Array]:
        """Return the observation's arrays as fresh ones."""
        if self._is_numpy:
            return {key: array.copy() for key, array in self.observation.items()}
        return {key: array.clone() for key, array in self.observation.items()}

    def copy_of_only_row(self) -> dict[str, npt.NDArray[Any]]:
        """Return the only row's arrays as fresh ones of numpy, each of shape (C,)."""
        return {key: np.array(as_numpy(array[0])) for key, array in self.observation.items()}

    def rewind(self, n_generated: Counts, n_used: Counts) -> None:
        """Take back what has been appended since each row had so many tokens and had used so much of its budget."""
        ids, mask, generated = (array.reshape(-1) for array in self.observation.values())
        for row in np.flatnonzero(self.n_used > n_used).tolist():
            first, end = int(self._first[row]), (row + 1) * self._context_length
            ids[first + int(n_generated[row]) : end] = self._pad_token_id
            mask[first + int(n_generated[row]) : end] = 0
            generated[first + int(n_used[row]) : end] = 0
        self.n_generated, self.n_used = n_generated, n_used

    def generated(self, rows: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        """Return the tokens generated in each of some rows, on the host."""
        token_ids = as_numpy(self.observation["input_ids"][self.array(rows)])  # (N, C)
        starts = self._n_prompt[rows]
        ends = starts + self.n_generated[rows]
        return [ids[start:end] for ids, start, end in zip(token_ids, starts.tolist(), ends.tolist(), strict=True)]

    def generated_ids(self, rows: Sequence[int]) -> list[list[int]]:
        """Return the tokens generated in each of some rows as lists."""
        return [ids.tolist() for ids in self.generated(np.array(rows))] if len(rows) else []
