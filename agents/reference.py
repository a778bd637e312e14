"""The frozen reference policy that KL is measured against."""

import copy
import hashlib
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from textgym.models import load_language_model

from .episode_buffer import EpisodeBuffer
from .policy import GPT2Policy

ReferenceSource = PreTrainedModel | Path | str | Literal["initial"] | None


class Reference:
    """A frozen copy of a policy, whose log-probabilities are processed as the policy's own.

    Args:
        policy: Gives temperature, token rules, device and, unless a model is given, the weights. It is copied.
        model: Language model to use in place of the policy's, of the same vocabulary.
    """

    def __init__(self, policy: GPT2Policy, model: PreTrainedModel | None = None) -> None:
        optimizer = policy.optimizer
        # The optimiser's state is not the reference's, and would double the copy.
        policy.optimizer = None  # type: ignore[assignment]
        try:
            self.policy = copy.deepcopy(policy)
        finally:
            policy.optimizer = optimizer
        if model is not None:
            self.policy.language_model = copy.deepcopy(model).float().to(policy.device)
        self.policy.set_training_mode(False)
        self.policy.requires_grad_(False)

    @torch.no_grad()
    def log_prob(self, buffer: EpisodeBuffer, tokens_per_batch: int = 8192) -> Tensor:
        """Score all tokens of a rollout, teacher-forced.

        Args:
            buffer: Filled with the rollout's episodes.
            tokens_per_batch: Positions a forward pass, padding included.

        Returns:
            Log-probability of each generated token, in the buffer's order, shape (tokens,).
        """
        return score_tokens(self.policy, buffer, tokens_per_batch)

    def sha256(self) -> str:
        """Return a fingerprint of the reference's weights."""
        return model_sha256(self.policy.language_model)


@torch.no_grad()
def score_tokens(policy: GPT2Policy, buffer: EpisodeBuffer, tokens_per_batch: int = 8192) -> Tensor:
    """Return a policy's log-probability of each generated token of a rollout, in the buffer's order, (tokens,)."""
    result = torch.empty(buffer.n_tokens, device=buffer.device)
    for episodes, index in buffer.in_order_of_length(tokens_per_batch):
        samples = buffer.packed(episodes)
        actions = samples["input_ids"][:, 1:][samples["is_decision"][:, :-1]]
        result[index] = policy.evaluate_actions(samples, actions)[1]
    return result


def model_sha256(model: torch.nn.Module) -> str:
    """Hash all parameters and buffers of a model, in float32."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def find_reference(source: ReferenceSource, policy: GPT2Policy) -> Reference | None:
    """Build the reference of a new policy.

    Args:
        source: `"initial"` for the policy as it is now, a model, a folder, a hub name, or None for no reference.
        policy: The policy.

    Returns:
        The reference, or None.
    """
    if source is None:
        return None
    if isinstance(source, str) and source == "initial":
        return Reference(policy)
    return Reference(policy, load_language_model(source))
