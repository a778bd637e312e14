"""Which tokens a task allows, from the ids that a user allows and bans."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def is_token(tokenizer: "PreTrainedTokenizerBase") -> Tensor:
    """Tell which numbers are tokens of a tokenizer, whose ids may have gaps between them.

    Returns:
        Boolean tensor, as long as the highest id says, shape (V,).
    """
    token_ids = torch.tensor(sorted(tokenizer.get_vocab().values()))
    is_there = torch.zeros(int(token_ids[-1]) + 1, dtype=torch.bool)
    is_there[token_ids] = True
    return is_there  # (V,)


def allowed_tokens(
    banned: Iterable[int],
    allowed: Iterable[int] | None,
    is_token: Tensor,
    *,
    eos_token_id: int,
    only_end_is_enough: bool,
) -> Tensor:
    """Tell which tokens a policy may choose.

    Args:
        banned: `banned_token_ids`, tokens that are never allowed.
        allowed: `allowed_token_ids`, the only ones allowed; None for all.
        is_token: False for a number that is no token, shape (V,).
        eos_token_id: The end-of-sequence token.
        only_end_is_enough: Whether the end-of-sequence token may be all that is left.

    Returns:
        Boolean tensor, True where a token is allowed, shape (V,).

    Raises:
        ValueError: If a token is outside the vocabulary, or too few are left to choose from.
        TypeError: If a token is no integer, or they can be read only once.
    """
    vocab_size = len(is_token)
    is_allowed = torch.full((vocab_size,), allowed is None) & is_token
    if allowed is not None:
        allowed_ids = _check_token_ids("allowed_token_ids", allowed, vocab_size)
        if not allowed_ids:
            raise ValueError("allowed_token_ids is empty, which allows no token; None allows all of them.")
        for token_id in allowed_ids:
            if not is_token[token_id]:
                raise ValueError(f"allowed_token_ids has {token_id}, which is no token of the tokenizer.")
        is_allowed[allowed_ids] = True
    is_allowed[_check_token_ids("banned_token_ids", banned, vocab_size)] = False
    only_end = bool(is_allowed.sum() == 1) and bool(is_allowed[eos_token_id])
    if not is_allowed.any() or (only_end and not only_end_is_enough):
        raise ValueError(
            "No token would be allowed: banned_token_ids and allowed_token_ids leave nothing to choose from; "
            "allow at least one token besides the end-of-sequence token."
        )
    return is_allowed  # (V,)


def _check_token_ids(name: str, token_ids: Iterable[int], vocab_size: int) -> list[int]:
    if not isinstance(token_ids, Iterable):
        raise TypeError(f"{name} must be a list of integers, got {token_ids!r}.")
    if iter(token_ids) is token_ids:
        # Another environment made from the same arguments would get none of them.
        raise TypeError(
            f"{name} must be readable more than once, got a {type(token_ids).__name__}, which is used up after one "
            f"pass; pass list({name})."
        )
    ids = list(token_ids)
    for token_id in ids:
        if isinstance(token_id, bool) or not isinstance(token_id, int | np.integer):
            raise TypeError(f"{name} must hold integers, got {token_id!r}.")
        if not 0 <= token_id < vocab_size:
            raise ValueError(f"{name} must lie between 0 and {vocab_size - 1}, got {token_id}.")
    return [int(token_id) for token_id in ids]
