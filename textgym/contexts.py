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
Progress: TypeAlias = tuple[Counts, Counts | None]  # how far each row is, as `Contexts` counts it


def array_library(device: torch.device) -> Any:
    """Return numpy for the CPU, where an operation on a small array costs a fifth of torch's; torch for the rest."""
    return np if device.type == "cpu" else torch


def as_numpy(array: Array) -> npt.NDArray[Any]:
    """Return an array as numpy's, from whatever device."""
    converted: npt.NDArray[Any] = array.cpu().numpy() if isinstance(array, Tensor) else array
    return converted


def without(mask: BoolArray | None, excluded: BoolArray | None) -> BoolArray | None:
    """Return a mask of all rows but some, where None for the mask stands for all, and None for the others for none."""
    if excluded is None:
        return mask
    return ~excluded if mask is None else mask & ~excluded


class Contexts:
    """Contexts of B rows, changed in place.

    Args:
        task: The task, for its prompts and sizes.
        num_envs: Number of rows B.
        device: Where the arrays live.

    Attributes:
        observation: The three arrays of an observation, each of shape (B, C); see `TextGenEnv`.
        is_numpy: Whether they are numpy's; else they are torch's.
    """

    def __init__(self, task: TextTask, num_envs: int, device: torch.device) -> None:
        library = array_library(device)
        self.is_numpy = library is np  # a module as an attribute would not pickle
        self._device = str(device)
        self._context_length, self._max_new_tokens = task.context_length, task.max_new_tokens
        shape = (num_envs, task.context_length)
        self.observation = {
            "input_ids": library.full(shape, task.pad_token_id, dtype=library.int64, device=self._device),
            "attention_mask": library.zeros(shape, dtype=library.int8, device=self._device),
            "is_generated": library.zeros(shape, dtype=library.int8, device=self._device),
        }
        # Where each row begins, where its budget goes on, and where that ends, all in the flattened arrays: one index
        # costs a fifth of two.
        self._row_starts = np.arange(num_envs) * task.context_length
        self._budget_at = self._row_starts.copy()
        self._budget_ends = self._row_starts + task.max_new_tokens
        # How much of its budget each row has used up on forbidden actions; None where there are no such.
        self._n_forbidden = np.zeros(num_envs, dtype=np.int64) if task.restricts_tokens else None
        self._pad_token_id = task.pad_token_id
        lengths = np.array([len(prompt.token_ids) for prompt in task.prompts])
        token_ids = np.full((len(lengths), task.context_length), task.pad_token_id, dtype=np.int64)
        for row, prompt in zip(token_ids, task.prompts, strict=True):
            row[: len(prompt.token_ids)] = prompt.token_ids
        is_prompt = np.arange(task.context_length) < lengths[:, None]
        prompts: list[npt.NDArray[Any]] = [token_ids, is_prompt.astype(np.int8), np.zeros(is_prompt.shape, np.int8)]
        self._prompts = [self._by_row(self.array(array)) for array in prompts]
        self._prompt_lengths = lengths
        self._make_views()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the views, which would be unpickled as arrays of their own."""
        return {key: value for key, value in vars(self).items() if key not in ("_flat", "_rows")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make the views anew."""
        vars(self).update(state)
        self._make_views()

    @property
    def n_used(self) -> Counts:
        """Tokens of the budget used up, shape (B,): those generated and one for each forbidden action."""
        return self._budget_at - self._budget_ends + self._max_new_tokens

    @property
    def n_generated(self) -> Counts:
        """Tokens generated, shape (B,), on the host like all that the rules ask for."""
        return self.n_used if self._n_forbidden is None else self.n_used - self._n_forbidden

    @property
    def progress(self) -> Progress:
        """How far each row is, for `rewind`."""
        return self._budget_at, self._n_forbidden

    def array(self, values: Any) -> Array:
        """Return values as an array of the contexts' library, on their device."""
        if self.is_numpy:
            return values if isinstance(values, np.ndarray) else np.asarray(as_numpy(values))
        return torch.asarray(values, device=self._device)

    def begin(self, rows: npt.NDArray[np.int64], prompts: npt.NDArray[np.int64]) -> None:
        """Replace some rows by prompts.

        Args:
            rows: The rows.
            prompts: For each of them the prompt's index in the task.
        """
        row_ids, prompt_ids = self.array(rows), self.array(prompts)
        for array, prompt_rows in zip(self._rows, self._prompts, strict=True):
            array[row_ids] = prompt_rows[prompt_ids]
        first = self._row_starts[rows] + self._prompt_lengths[prompts]
        self._budget_at[rows] = first
        self._budget_ends[rows] = first + self._max_new_tokens
        if self._n_forbidden is not None:
            self._n_forbidden[rows] = 0

    def append(self, tokens: Array, is_playing: BoolArray | None, is_forbidden: BoolArray | None) -> BoolArray:
        """Append a token to each row, and use up one token of its budget.

        Args:
            tokens: The tokens, shape (B,).
            is_playing: False where the row is left alone altogether, None for nowhere; shape (B,).
            is_forbidden: True where a row that is playing keeps its text as it is, None for nowhere; shape (B,).

        Returns:
            Whether that has used up the row's budget, shape (B,).
        """
        ids, mask, generated = self._flat
        is_appended = without(is_playing, is_forbidden)
        at = self.array(self._budget_at if is_playing is None else self._budget_at[is_playing])
        generated[at] = 1
        if self._n_forbidden is not None:
            text_at = self._budget_at - self._n_forbidden
            at = self.array(text_at if is_appended is None else text_at[is_appended])
            if is_forbidden is not None:
                self._n_forbidden = self._n_forbidden + is_forbidden
        ids[at] = tokens if is_appended is None else tokens[self.array(is_appended)]
        mask[at] = 1
        self._budget_at = self._budget_at + (1 if is_playing is None else is_playing)
        is_spent: BoolArray = self._budget_at == self._budget_ends
        return is_spent if is_playing is None else is_spent & is_playing

    def append_to_only_row(self, token: int) -> bool:
        """Do what `append` does with one row, at a tenth of its cost, unless that would use up the budget.

        Returns:
            Whether the token was appended; if not, nothing has changed.
        """
        budget_at = self._budget_at.item()
        if budget_at + 1 == self._budget_ends.item():
            return False
        text_at = budget_at if self._n_forbidden is None else budget_at - self._n_forbidden.item()
        ids, mask, generated = self._flat
        ids[text_at] = token
        mask[text_at] = 1
        generated[budget_at] = 1
        self._budget_at[0] = budget_at + 1
        return True

    def copy(self) -> dict[str, Array]:
        """Return the observation's arrays as fresh ones, each of shape (B, C)."""
        if self.is_numpy:
            return {key: array.copy() for key, array in self.observation.items()}
        return {key: array.clone() for key, array in self.observation.items()}

    def copy_of_only_row(self) -> dict[str, npt.NDArray[Any]]:
        """Return the only row's arrays as fresh ones of numpy, each of shape (C,)."""
        return {key: as_numpy(array[0]).copy() for key, array in self.observation.items()}

    def rewind(self, progress: Progress) -> None:
        """Take back what has been appended since the rows were so far."""
        ids, mask, generated = self._flat
        budget_at, n_forbidden = progress
        for row in np.flatnonzero(self._budget_at > budget_at).tolist():
            begin, end = int(budget_at[row]), (row + 1) * self._context_length
            generated[begin:end] = 0
            begin -= 0 if n_forbidden is None else int(n_forbidden[row])
            ids[begin:end] = self._pad_token_id
            mask[begin:end] = 0
        self._budget_at, self._n_forbidden = progress

    def generated_ids(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> list[list[int]]:
        """Return the tokens generated in each of N rows."""
        rows = np.asarray(rows, dtype=np.int64)
        ids = self._flat[0]
        ends, budget_ends = self._budget_at[rows], self._budget_ends[rows]
        if self._n_forbidden is not None:
            ends -= self._n_forbidden[rows]
        if not self.is_numpy:
            ids = as_numpy(self.observation["input_ids"][self.array(rows)]).reshape(-1)  # one transfer for all
            shifts = np.arange(len(rows)) * self._context_length - self._row_starts[rows]
            ends, budget_ends = ends + shifts, budget_ends + shifts
        size = self._max_new_tokens
        places = zip(budget_ends.tolist(), ends.tolist(), strict=True)
        return [ids[budget_end - size : end].tolist() for budget_end, end in places]

    def _make_views(self) -> None:
        self._flat = [array.reshape(-1) for array in self.observation.values()]
        self._rows = [self._by_row(array) for array in self.observation.values()]

    def _by_row(self, array: Array) -> Array:
        """Return a view of an array of shape (N, C) by row; of numpy's as N items, each of which is moved at once."""
        return array.view(np.dtype((np.void, array[0].nbytes)))[:, 0] if self.is_numpy else array
