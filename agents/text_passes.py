"""How a packed batch is forwarded: in passes of a few texts, and once what these have alike at their beginning.

Completions of one prompt share its tokens, and a causal model's hidden states at these. So do prompts that begin with
the same instructions.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .host_copies import to_device
from .ranges import joined_ranges

# Less is not worth it, padding included: what is forwarded once, or without its padding, has to be gathered for
# attention in every block.
LEAST_SHARE_SAVED = 0.1
# Attention works on padded texts, so that these are limited too: so many places for each position of a pass.
PLACES_PER_POSITION = 2


class PackedTexts(dict[str, Tensor]):
    """A packed batch, which remembers what follows from it, since it may be forwarded several times.

    Attributes:
        layout: What `layout_of` has found.
    """

    layout: "Layout | None" = None

    @cached_property
    def chosen(self) -> Tensor:
        """The token chosen at each decision, shape (N,)."""
        return self["input_ids"][:, 1:][self["is_decision"][:, :-1]]

    @cached_property
    def n_generated(self) -> Tensor:
        """Number of tokens generated before each decision, shape (N,)."""
        is_decision = self["is_decision"]
        return (is_decision.long().cumsum(dim=1) - 1)[is_decision]


class TextPass(NamedTuple):
    """R texts of a packed batch that are forwarded together, padded to ℓ tokens: N positions and M decisions.

    A text ends with its last decision.

    Attributes:
        positions: The positions, by number in the batch's rows laid end to end, shape (N,).
        columns: Their places in their texts, shape (N,).
        number: Which of the N each place of the padded texts has, shape (R, ℓ); anything at padding.
        kept: Where the N are in the padded texts laid end to end, shape (N,); None where they are all of these, in
            order. Where several texts have a position, these follow one another, and it is kept in the first of them.
        n_places: How many texts have each of the N, shape (N,).
        decisions: Where tokens were chosen, as in `kept`, text by text, shape (M,).
    """

    positions: Tensor
    columns: Tensor
    number: Tensor
    kept: Tensor | None
    n_places: Tensor
    decisions: Tensor

    def to(self, device: torch.device) -> "TextPass":
        """Return the same on a device."""
        return TextPass(*(None if part is None else to_device(part, device) for part in self))  # type: ignore[arg-type]


# Passes, and where the batch's decisions, row by row, are among those of the passes; None if in their order.
Layout = tuple[list[TextPass], Tensor | None]


def layout_of(batch: Mapping[str, Tensor], most_positions: float) -> Layout:
    """Cut a packed batch into passes, with tensors where the batch's are.

    Args:
        batch: Has `input_ids` and `is_decision`.
        most_positions: See `text_passes`; the same each time for a batch.
    """
    if isinstance(batch, PackedTexts) and batch.layout is not None:
        return batch.layout
    device = batch["input_ids"].device
    passes, order = text_passes(batch["input_ids"].cpu(), batch["is_decision"].cpu(), most_positions)
    layout = [texts.to(device) for texts in passes], None if order is None else to_device(order, device)
    if isinstance(batch, PackedTexts):
        batch.layout = layout
    return layout


def text_passes(input_ids: Tensor, is_decision: Tensor, most_positions: float) -> Layout:
    """Cut a packed batch into passes. Behind a text's last decision there is nothing that anybody asks for.

    Args:
        input_ids: Tokens of right-padded texts on the CPU, shape (B, L).
        is_decision: True where the next token was chosen, shape (B, L).
        most_positions: Positions of a pass, at most about; a longer text is a pass of its own.
    """
    tokens, decides = input_ids.numpy(), is_decision.numpy()
    # One is left where there is no decision.
    sizes = np.maximum(1, (decides * np.arange(1, decides.shape[1] + 1)).max(axis=1))
    rows, n_alike = _alike_side_by_side(tokens, sizes)
    if n_alike.sum() < LEAST_SHARE_SAVED * sizes.sum():
        rows, n_alike = np.arange(len(sizes)), np.zeros_like(sizes)
    slices = _slices(sizes[rows], n_alike, most_positions)
    passes = [_text_pass(rows[part], sizes[rows[part]], n_alike[part], decides) for part in slices]
    if (rows[1:] > rows[:-1]).all():
        return passes, None
    n_decisions = decides.sum(axis=1)
    starts = np.empty_like(rows)
    starts[rows] = n_decisions[rows].cumsum() - n_decisions[rows]
    return passes, torch.from_numpy(joined_ranges(starts, n_decisions))


def _alike_side_by_side(tokens: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order rows so that each follows one that begins like it for as long as any earlier one does.

    Args:
        tokens: Tokens of right-padded texts, shape (B, L).
        sizes: Tokens of each text, shape (B,).

    Returns:
        Numbers of the rows, and of how many tokens each has at its beginning that the one before it has too.
    """
    # Padding is unlike any token.
    keys = [row.tobytes() for row in np.where(np.arange(tokens.shape[1]) < sizes[:, None], tokens, -1)]
    rows = np.array(sorted(range(len(keys)), key=keys.__getitem__))
    ordered, sizes = tokens[rows], sizes[rows]
    is_in_both = np.arange(tokens.shape[1]) < np.minimum(sizes[1:], sizes[:-1])[:, None]
    is_alike = (ordered[1:] == ordered[:-1]) & is_in_both
    return rows, np.append(0, np.logical_and.accumulate(is_alike, axis=1).sum(axis=1))


def _slices(sizes: np.ndarray, n_alike: np.ndarray, most_positions: float) -> list[slice]:
    """Cut rows into passes of at most about so many positions, those shared with the row before counted once.

    Of places, padding included, a pass has at most `PLACES_PER_POSITION` times as many.
    """
    slices, start, n_positions, longest = [], 0, 0, 0
    for row, (size, alike) in enumerate(zip(sizes.tolist(), n_alike.tolist(), strict=True)):
        n_places = (row + 1 - start) * max(longest, size)
        too_much = n_positions + size - alike > most_positions or n_places > PLACES_PER_POSITION * most_positions
        if row > start and too_much:
            slices.append(slice(start, row))
            start, n_positions, longest = row, alike, 0
        n_positions += size - alike
        longest = max(longest, size)
    return [*slices, slice(start, len(sizes))]


def _text_pass(rows: np.ndarray, sizes: np.ndarray, n_alike: np.ndarray, decides: np.ndarray) -> TextPass:
    length = int(sizes.max())
    column = np.arange(length)
    # The first text of a pass has nothing before it to share with.
    n_alike = np.append(0, n_alike[1:])
    is_new = (column >= n_alike[:, None]) & (column < sizes[:, None])
    saves = bool(is_new.sum() <= (1 - LEAST_SHARE_SAVED) * is_new.size)
    if not saves:
        is_new = np.ones_like(is_new)
    own = (is_new.cumsum() - 1).reshape(is_new.shape)
    # A position has the state of the last row that does not take its own from the row before.
    owner = np.maximum.accumulate(np.where(is_new, np.arange(len(rows))[:, None], 0), axis=0)
    number = own[owner, column]
    places = is_new.ravel().nonzero()[0]
    row, columns = np.divmod(places, length)
    is_shown = (column < sizes[:, None]) | is_new
    return TextPass(
        positions=torch.from_numpy(rows[row] * decides.shape[1] + columns),
        columns=torch.from_numpy(columns),
        number=torch.from_numpy(number),
        kept=torch.from_numpy(places) if saves else None,
        n_places=torch.from_numpy(np.bincount(number[is_shown], minlength=len(places))),
        decisions=torch.from_numpy(decides[rows, :length].ravel().nonzero()[0]),
    )
