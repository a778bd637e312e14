"""How well a language model predicts whole texts, in a unit that does not depend on its tokenizer."""

import math

import torch
from torch.nn.functional import cross_entropy
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from .corpus import n_bytes


def bits_per_byte(
    model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, texts: list[str], stride: int | None = None
) -> float:
    """Measure the negative log-likelihood of whole texts, in bits for each UTF-8 byte.

    Each text is preceded by the end-of-text token. Windows of the model's context overlap, so that every token but
    a text's first ones is predicted from at least `context - stride` earlier ones.

    Args:
        model: Its training mode is left as it is.
        tokenizer: The model's own.
        texts: At least one byte together.
        stride: Tokens between the starts of two windows, fewer than the context; None for half of it.

    Raises:
        ValueError: If `stride` is below 1 or not below the context.
    """
    context = model.config.n_positions
    stride = context // 2 if stride is None else stride
    if not 1 <= stride < context:
        raise ValueError(
            f"stride must be from 1 to {context - 1}, below the model's context of {context} tokens, got {stride}"
        )
    nats = 0.0
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for ids in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]:
            tokens = torch.tensor([tokenizer.eos_token_id, *ids])
            scored_to = 1
            for start in range(0, max(1, len(tokens) - context + stride), stride):
                window = tokens[start : start + context].to(model.device)
                logits = model(window[None], use_cache=False).logits[0]  # (L, V)
                first = scored_to - start
                nats += cross_entropy(logits[first - 1 : -1].float(), window[first:], reduction="sum").item()
                scored_to = start + len(window)
    model.train(was_training)
    return nats / math.log(2) / n_bytes(texts)
