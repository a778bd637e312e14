"""Sets of tokens as packed bits: an eighth of a byte a token of the vocabulary, where a float32 mask has four."""

import torch
from torch import Tensor


def pack_candidates(is_candidate: Tensor) -> Tensor:
    """Pack sets of tokens.

    Args:
        is_candidate: True at each token of the set, shape (N, V).

    Returns:
        Bytes with the lowest bit first, uint8, shape (N, ⌈V / 8⌉).
    """
    n_rows, vocab_size = is_candidate.shape
    bits = torch.zeros((n_rows, packed_width(vocab_size) * 8), dtype=torch.uint8, device=is_candidate.device)
    bits[:, :vocab_size] = is_candidate
    return (bits.view(n_rows, -1, 8) << _places(bits)).sum(dim=-1, dtype=torch.uint8)


def unpack_candidates(packed: Tensor, vocab_size: int) -> Tensor:
    """Return what `pack_candidates` was given, a boolean tensor of shape (N, V)."""
    bits = (packed[:, :, None] >> _places(packed)) & 1  # (N, ⌈V / 8⌉, 8)
    return bits.flatten(1)[:, :vocab_size].bool()


def packed_width(vocab_size: int) -> int:
    """Return the bytes of one packed set."""
    return -(-vocab_size // 8)


def _places(like: Tensor) -> Tensor:
    return torch.arange(8, dtype=torch.uint8, device=like.device)
