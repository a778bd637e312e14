"""Packed sets of tokens, and functions applied a chunk at a time."""

import pytest
import torch
from torch import Tensor

from textgym.agents.candidates import pack_candidates, packed_width, unpack_candidates
from textgym.agents.chunking import in_chunks


def test_a_set_is_packed_with_the_lowest_bit_first() -> None:
    is_candidate = torch.zeros((2, 11), dtype=torch.bool)
    is_candidate[0, [0, 1, 10]] = True
    is_candidate[1, 7] = True
    assert pack_candidates(is_candidate).tolist() == [[3, 4], [128, 0]]


@pytest.mark.parametrize("vocab_size", [1, 7, 8, 9, 12, 8192])
def test_what_was_packed_comes_back(vocab_size: int) -> None:
    is_candidate = torch.rand((5, vocab_size), generator=torch.Generator().manual_seed(0)) < 0.5
    packed = pack_candidates(is_candidate)
    assert packed.dtype == torch.uint8
    assert packed.shape == (5, packed_width(vocab_size))
    assert torch.equal(unpack_candidates(packed, vocab_size), is_candidate)


@pytest.mark.parametrize("rows_per_chunk", [1, 3, 7, 100])
def test_chunks_change_neither_results_nor_gradients(rows_per_chunk: int) -> None:
    def function(first: Tensor, second: Tensor | None, third: Tensor) -> tuple[Tensor, Tensor]:
        assert second is None
        assert len(first) <= rows_per_chunk
        return first.exp().sum(dim=1), first[:, 0] * third

    first = torch.randn(7, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    third = torch.arange(7.0)
    sums, products = in_chunks(function, rows_per_chunk, first, None, third)
    torch.testing.assert_close(sums, first.exp().sum(dim=1))
    torch.testing.assert_close(products, first[:, 0] * third)
    (sums.sum() + products.sum()).backward()
    expected = first.exp()
    expected[:, 0] += third
    torch.testing.assert_close(first.grad, expected)
