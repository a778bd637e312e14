"""The tokens of B episodes as arrays on one device, and where each one's prompt stops and its text ends."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .task import TextTask

# numpy.ndarray or torch.Tensor, used only by what the Python array API standard says of both.
Array: TypeAlias = Any


def array_library(device: torch.device) -> Any:
    """Return numpy for the CPU, where an operation on a small array costs a fifth of torch's; torch for the rest."""
    return np if device.type == "cpu" else torch


def as_numpy(array: Array) -> npt.NDArray[Any]:
    """Return an array as numpy's, from whatever device."""
    converted: npt.NDArray[Any] = array.cpu().numpy() if isinstance(array, Tensor) else array
    return converted


def to_host(*arrays: Array) -> Iterable[npt.NDArray[Any]]:
    """Return arrays of one shape and dtype as numpy's, by one copy from the device for all of them."""
    return as_numpy(torch.stack(arrays)) if isinstance(arrays[0], Tensor) else arrays


class Contexts:
    """Contexts of B rows, changed in place.

    Args:
        task: The task, for its prompts and sizes.
        num_envs: Number of rows B.
        device: Where the arrays live.

    Attributes:
        observation: The three arrays of an observation, each of shape (B, C); see `TextGenEnv`.
        prompt_length: Tokens of each row's prompt, shape (B,).
        n_generated: Tokens generated, shape (B,).
        n_used: Tokens of the budget used up, shape (B,): those generated and one for each forbidden action.
    """

    def __init__(self, task: TextTask, num_envs: int, device: torch.device) -> None:
        library = array_library(device)
        self._is_numpy = library is np
        self._device = str(device)
        shape = (num_envs, task.context_length)
        self.observation = {
            "input_ids": library.full(shape, task.pad_token_id, dtype=library.int64, device=self._device),
            "attention_mask": library.zeros(shape, dtype=library.int8, device=self._device),
            "is_generated": library.zeros(shape, dtype=library.int8, device=self._device),
        }
        self.prompt_length = self.array(np.zeros(num_envs, dtype=np.int64))
        self.n_generated = self.array(np.zeros(num_envs, dtype=np.int64))
        self.n_used = self.array(np.zeros(num_envs, dtype=np.int64))
        self._rows = self.array(np.arange(num_envs))
        self._last = task.context_length - 1
        lengths = np.array([len(prompt.token_ids) for prompt in task.prompts])
        token_ids = np.full((len(lengths), task.context_length), task.pad_token_id, dtype=np.int64)
        for row, prompt in zip(token_ids, task.prompts, strict=True):
            row[: len(prompt.token_ids)] = prompt.token_ids
        is_prompt = np.arange(task.context_length) < lengths[:, None]
        self._prompts = {
            "input_ids": self.array(token_ids),
            "attention_mask": self.array(is_prompt.astype(np.int8)),
            "is_generated": self.array(np.zeros_like(is_prompt, dtype=np.int8)),
        }
        self._prompt_lengths = self.array(lengths)

    @property
    def _library(self) -> Any:
        return np if self._is_numpy else torch  # a module as an attribute would not pickle

    def array(self, values: Any) -> Array:
        """Return values as an array of the contexts' library, on their device."""
        if self._is_numpy:
            return np.asarray(as_numpy(values))
        return torch.asarray(values, device=self._device)

    def begin(self, rows: Sequence[int] | npt.NDArray[np.int64], prompts: npt.NDArray[np.int64]) -> None:
        """Replace some rows by prompts.

        Args:
            rows: The rows.
            prompts: For each of them the prompt's index in the task.
        """
        row_ids, prompt_ids = self.array(rows), self.array(prompts)
        for key, array in self.observation.items():
            array[row_ids] = self._prompts[key][prompt_ids]
        self.prompt_length[row_ids] = self._prompt_lengths[prompt_ids]
        self.n_generated[row_ids] = 0
        self.n_used[row_ids] = 0

    def append(self, tokens: Array, is_appended: Array | None, is_playing: Array | None) -> None:
        """Append a token to each row, and use up one token of its budget.

        Args:
            tokens: The tokens, shape (B,).
            is_appended: False where the text is left as it is, None for nowhere; shape (B,).
            is_playing: False where the row is left alone altogether, None for nowhere; shape (B,).
        """
        ids, mask, generated = self.observation.values()
        end = self.prompt_length + self.n_generated
        budget_end = self.prompt_length + self.n_used
        if is_playing is not None:  # a row that is over may have filled its context
            end, budget_end = (self._library.clip(position, 0, self._last) for position in (end, budget_end))
        at, budget_at = (self._rows, end), (self._rows, budget_end)
        ids[at] = tokens if is_appended is None else self._library.where(is_appended, tokens, ids[at])
        mask[at] = 1 if is_appended is None else mask[at] | is_appended
        generated[budget_at] = 1 if is_playing is None else generated[budget_at] | is_playing
        self.n_generated = self.n_generated + (1 if is_appended is None else is_appended)
        self.n_used = self.n_used + (1 if is_playing is None else is_playing)

    def copy(self) -> dict[str, Array]:
        """Return the observation's arrays as fresh ones."""
        return {key: self._library.asarray(array, copy=True) for key, array in self.observation.items()}

    def state(self) -> tuple[Any, ...]:
        """Return a copy of all that changes, for `restore`."""
        return self.copy(), self.prompt_length, self.n_generated, self.n_used

    def restore(self, state: tuple[Any, ...]) -> None:
        """Go back to what `state` returned."""
        self.observation, self.prompt_length, self.n_generated, self.n_used = state

    def generated_ids(self, rows: Sequence[int]) -> list[list[int]]:
        """Return the tokens generated in some rows."""
        if not rows:
            return []
        row_ids = self.array(rows)
        token_ids = self.observation["input_ids"][row_ids].tolist()
        starts = self.prompt_length[row_ids].tolist()
        lengths = self.n_generated[row_ids].tolist()
        return [ids[start : start + length] for ids, start, length in zip(token_ids, starts, lengths, strict=True)]
