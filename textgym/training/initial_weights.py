"""A trained language model with weights part of the way back to those that training began with."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from textgym.agents.language_policy import LanguagePolicy
from textgym.models import load_language_model


@contextmanager
def with_initial_share(policy: LanguagePolicy, initial: str, share: float) -> Iterator[None]:
    """Give a policy's language model, for a while, (1 - share) of its own weights and `share` of the initial ones.

    What training did is undone by that share in every weight, which costs less of the score than of the distance: Ramé
    et al. (2024), arXiv:2406.16768, linear interpolation towards the initialization. An adapter's effect is scaled by
    1 - share. Heads of values and Q-values stay as they are. Afterwards the trained weights are back, bit by bit.

    Args:
        policy: The policy.
        initial: The model that training began with: "bundled", a folder, or a hub name.
        share: 0 for the trained weights, 1 for the initial ones.

    Raises:
        ValueError: If the initial model cannot be loaded any more.
    """
    if share == 0:
        yield
        return
    parameters = {
        name: parameter for name, parameter in policy.language_model.named_parameters() if parameter.requires_grad
    }
    trained = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    with torch.no_grad():
        if policy.lora is not None:
            # It adds B A to a matrix, and B begins at 0.
            for name, parameter in parameters.items():
                if "lora_B" in name:
                    parameter.mul_(1 - share)
        else:
            first = dict(load_language_model(initial).named_parameters())
            for name, parameter in parameters.items():
                parameter.lerp_(first[name].to(parameter), share)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(trained[name])
