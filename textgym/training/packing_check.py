"""Whether a language model reads packed demonstrations as it reads each alone, found out before it learns from them."""

import inspect
from collections.abc import Sequence

import torch
from torch.nn.functional import cross_entropy
from transformers import GPT2LMHeadModel, PreTrainedModel

from .demonstrations import Demonstration, pack
from .sft_training import completion_loss

# Nats a token. Rounding in float32 makes less than 1e-4, a window or scale left out more than 0.1.
TOLERANCE = 1e-2


@torch.no_grad()
def check_packing(model: PreTrainedModel, demonstrations: Sequence[Demonstration]) -> None:
    """Compare the loss of the longest demonstration, packed beside the shortest, with the model's own of each alone.

    GPT-2 is known to be such a model and is not looked at.

    Args:
        model: In evaluation mode.
        demonstrations: At least one.

    Raises:
        ValueError: If the two differ.
    """
    if type(model) is GPT2LMHeadModel:
        return
    longest = max(demonstrations, key=lambda one: len(one.token_ids))
    both = [longest, min(demonstrations, key=lambda one: len(one.token_ids))]
    rows = pack(both, sum(len(one.token_ids) for one in both), longest.token_ids[-1])
    packed = float(completion_loss(model, rows.to(model.device)))
    alone = sum(_loss_alone(model, one) for one in both)
    gap = abs(packed - alone) / int(rows.is_learned.sum())
    if not gap < TOLERANCE:  # also where it is NaN
        raise ValueError(
            f"TextGym cannot fine-tune a {type(model).__name__} on demonstrations of {len(longest.token_ids)} tokens: "
            f"packed into rows they come out otherwise than alone, by {gap:.3g} nats a token, most likely since its "
            "attention reaches back only so far. Leave the longest ones out, or take another model."
        )


def _loss_alone(model: PreTrainedModel, one: Demonstration) -> float:
    token_ids = torch.tensor(one.token_ids, device=model.device)
    # Of the completion alone: at V = 150,000 the logits of a long prompt would fill the memory.
    n_learned = len(token_ids) - one.n_prompt
    has_choice = "logits_to_keep" in inspect.signature(model.forward).parameters
    kept = {"logits_to_keep": n_learned + 1} if has_choice else {}
    logits = model(input_ids=token_ids[None], use_cache=False, **kept).logits[0].float()
    return float(cross_entropy(logits[-n_learned - 1 : -1], token_ids[one.n_prompt :], reduction="sum"))
