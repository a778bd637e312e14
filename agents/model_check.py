"""Whether a language model computes what a policy takes it to compute, found out before anything is trained."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import GPT2LMHeadModel

from .trunk import Trunk

if TYPE_CHECKING:
    from .language_policy import LanguagePolicy

# Nats of a token's log-probability. Rounding in float32 makes less than 1e-4, a window or scale left out more than 0.1.
TOLERANCE = 1e-2
N_TOKENS_OF_HEAD = 4


@torch.no_grad()
def check_language_model(policy: "LanguagePolicy", context_length: int) -> None:
    """Compare what a policy makes of a model's parts with the model's own forward pass, on one row of tokens.

    The policy takes logits for the head on the trunk's hidden states, and a cached row for one whose tokens all attend
    to all before them. GPT-2 is known to be such a model and is not looked at.

    Args:
        policy: Has the model, on any device.
        context_length: Longest row that it will see.

    Raises:
        ValueError: If the model is no such model, or is none in rows of that length.
    """
    model = policy.language_model
    if type(model) is GPT2LMHeadModel:
        return
    name = type(model).__name__
    autocast, policy.autocast = policy.autocast, None
    try:
        row = (torch.arange(context_length, device=model.device) % policy.vocab_size)[None]
        start = row[:, :N_TOKENS_OF_HEAD]
        own_logits = model(input_ids=start, use_cache=False).logits[0, :, : policy.vocab_size]
        head_gap = _gap(policy.model_logits(policy.hidden_states(start)[0]), own_logits)
        cache_gap = _gap(_cached_logits(policy, row), policy.model_logits(policy.hidden_states(row)[0, -1:]))
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"TextGym cannot train a {name}: it decodes models that are made of a trunk with a key-value cache and a "
            f"language head, and a trial with one row of {context_length} tokens ended in {type(error).__name__}: "
            f"{error}"
        ) from error
    finally:
        policy.autocast = autocast
    # The negation also refuses NaN.
    if not head_gap < TOLERANCE:
        raise ValueError(
            f"TextGym cannot train a {name}: it does more with its hidden states than apply its language head, and "
            f"log-probabilities would be wrong by up to {head_gap:.3g} nats."
        )
    if not cache_gap < TOLERANCE:
        raise ValueError(
            f"TextGym cannot train a {name} on rows of {context_length} tokens: read one by one they come out "
            f"otherwise than all at once, by up to {cache_gap:.3g} nats, most likely since its attention reaches back "
            "only so far. Lower max_prompt_tokens + max_new_tokens to what it reaches, or take another model."
        )


def _cached_logits(policy: "LanguagePolicy", row: Tensor) -> Tensor:
    """Return the policy's logits at the end of a row whose last token came alone, beside what could be longer rows."""
    length = row.shape[1]
    cache = Trunk.make_cache(policy, 1, length + length // 2 + 1)
    positions = torch.arange(length, device=row.device)[None]
    if length > 1:
        Trunk.cached_hidden_states(policy, row[:, :-1], positions[:, :-1], cache)
    hidden = Trunk.cached_hidden_states(policy, row[:, -1:], positions[:, -1:], cache)
    return policy.model_logits(hidden[0])


def _gap(logits: Tensor, others: Tensor) -> float:
    return float((logits.float().log_softmax(dim=-1) - others.float().log_softmax(dim=-1)).abs().max())
