"""Rows at all places that show them, and the sums of these places' gradients."""

from itertools import chain

import pytest
import torch

from tests.agents.test_text_passes import N_PROMPT, TEXTS, batch
from textgym.agents.spreading import picked_rows, spread_rows
from textgym.agents.text_passes import TextPass, text_passes

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def shared_texts(n_copies: int = 1) -> TextPass:
    """One pass over texts that begin alike, of which there may be several each."""
    ids, is_decision = batch(TEXTS * n_copies, N_PROMPT * n_copies)
    (texts,), _ = text_passes(ids, is_decision, most_positions=10_000)
    assert texts.kept is not None
    return texts


def places_of(texts: TextPass) -> list[list[int]]:
    """The places of each position: so many below one another, from the first one on."""
    assert texts.kept is not None
    length = texts.number.shape[1]
    pairs = zip(texts.kept.tolist(), texts.n_places.tolist(), strict=True)
    return [list(range(first, first + count * length, length)) for first, count in pairs]


def test_each_place_of_a_text_belongs_to_one_position() -> None:
    texts, numbers = shared_texts(), []
    for own, places in enumerate(places_of(texts)):
        assert texts.number.flatten()[places].tolist() == [own] * len(places)
        numbers += places
    # A text ends with its last decision, and one without any has a single token.
    lengths = [len(text) - 1 if len(text) > first else 1 for text, first in zip(TEXTS, N_PROMPT, strict=True)]
    assert len(numbers) == len(set(numbers)) == sum(lengths)
    assert max(map(len, places_of(texts))) == 6  # of the first token, 1


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [24, 1040])
def test_gradients_of_all_places_are_added_up_exactly(device: str, dtype: torch.dtype, width: int) -> None:
    texts = shared_texts(n_copies=60).to(torch.device(device))
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn((len(texts.positions), width), generator=generator).to(device, dtype).requires_grad_()
    padded = spread_rows(rows, texts)
    assert torch.equal(padded.flatten(0, 1), rows[texts.number.flatten()])
    gradient = torch.randn(padded.shape, generator=generator).to(device, dtype)
    is_padding = torch.ones(texts.number.numel(), dtype=torch.bool, device=device)
    is_padding[list(chain.from_iterable(places_of(texts)))] = False
    gradient[is_padding.view(texts.number.shape)] = 0
    padded.backward(gradient)
    assert rows.grad is not None
    expected = torch.zeros((len(rows), width), dtype=torch.float64, device=device)
    expected.index_add_(0, texts.number.flatten(), gradient.flatten(0, 1).double())
    error = (rows.grad.double() - expected).norm() / expected.norm()
    # That of rounding once, where up to 360 numbers are added up.
    assert error < (1e-6 if dtype == torch.float32 else 0.003)


@pytest.mark.parametrize("device", DEVICES)
def test_picked_rows_are_rows_and_send_their_gradients_back(device: str) -> None:
    rows = torch.arange(12.0, device=device).view(4, 3).requires_grad_()
    picked = picked_rows(rows, torch.tensor([3, 0], device=device))
    assert torch.equal(picked, rows[[3, 0]])
    weights = torch.tensor([[2.0], [5.0]], device=device)
    (gradient,) = torch.autograd.grad((picked * weights).sum(), rows)
    assert gradient[:, 0].tolist() == [5, 0, 0, 2]
