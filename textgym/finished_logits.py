"""What some language models do with the logits that their head gives: scale them, or bound them."""

import torch
from torch import Tensor
from transformers import PretrainedConfig


def has_finished_logits(config: PretrainedConfig) -> bool:
    """Whether a model's logits are not its head's as they are."""
    return _scale(config) != 1 or _bound(config) is not None


def finish_logits(logits: Tensor, config: PretrainedConfig) -> Tensor:
    """Return a model's logits, shape (N, V), from those of its head.

    Cohere's models multiply them, IBM's Granite divides them, and some of Gemma's squeeze them between two bounds.

    Args:
        logits: The head's, shape (N, V).
        config: The model's configuration.
    """
    scale, bound = _scale(config), _bound(config)
    if scale != 1:
        logits = logits * scale
    if bound is not None:
        logits = torch.tanh(logits / bound) * bound
    return logits


def _scale(config: PretrainedConfig) -> float:
    # By its kind, since other models have settings of these names that they do not use.
    if config.model_type.startswith("cohere"):
        return float(config.logit_scale)
    if config.model_type.startswith("granite"):
        return 1 / float(config.logits_scaling)
    return 1.0


def _bound(config: PretrainedConfig) -> float | None:
    bound: float | None = getattr(config, "final_logit_softcapping", None)
    return bound
