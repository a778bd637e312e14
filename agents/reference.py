"""The frozen reference policy that KL is measured against."""

import copy
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor
from transformers import PreTrainedModel

from textgym.models import BUNDLED_MODEL, load_language_model

from .episode_buffer import EpisodeBuffer
from .frozen_layers import frozen_parameters, share_frozen_parameters
from .lora import switch_off
from .policy import GPT2Policy
from .scoring import Divergence, compare_policies, log_prob_of_tokens
from .trunk_model import own_model

# Parts of a policy of ours, of which a reference has the language model alone.
PARTS_OF_OURS = ("language_model.", "value_net.", "value_trunk.", "mask_policy.")
ReferenceSource = PreTrainedModel | Path | str | Literal["initial"] | None


class ChangedReferenceError(ValueError):
    """What a reference was made from has other weights now."""


def frozen_copy(policy: GPT2Policy, model: PreTrainedModel | None = None) -> GPT2Policy:
    """Return a copy that does not learn and has no critic; what is frozen in the policy is not copied but shared.

    Args:
        policy: The policy.
        model: Language model whose copy takes the place of the policy's, of the same vocabulary.
    """
    # The optimiser's state and the critic's trunk are of no use to it.
    left_out = {id(policy.optimizer): None, id(policy.value_trunk): None}
    if model is not None:
        left_out[id(policy.language_model)] = None
    copied = copy.deepcopy(policy, {**frozen_parameters(policy), **left_out})
    copied.critic = None
    if model is not None:
        copied.lora = None
        copied.language_model = own_model(model)
        copied.to(policy.device)
        if not share_frozen_parameters(policy.language_model, copied.language_model):
            copied.frozen_layers = 0
    copied.set_training_mode(False)
    copied.requires_grad_(False)
    return copied


class Reference:
    """A frozen copy of a policy, whose log-probabilities are processed as the policy's own.

    What is frozen in the policy is not copied but shared: its lower layers, or all but its adapter, which is switched
    off here.

    Args:
        policy: Gives temperature, token rules, precision, device and, unless a model is given, the weights.
        model: Language model to use in place of the policy's, of the same vocabulary.
    """

    def __init__(self, policy: GPT2Policy, model: PreTrainedModel | None = None) -> None:
        self.policy = frozen_copy(policy, model)
        if model is None and policy.lora is not None:
            switch_off(self.policy.language_model)

    def log_prob(self, buffer: EpisodeBuffer) -> Tensor:
        """Return the log-probability of each generated token of a buffer, in its order, shape (tokens,)."""
        return log_prob_of_tokens(self.policy, buffer)

    def divergence(
        self, policy: GPT2Policy, buffer: EpisodeBuffer, top_k: int | None = None, top_p: float | None = None
    ) -> Divergence:
        """Return how far a policy has moved from here, at each generated token of a buffer; see `compare_policies`."""
        return compare_policies(policy, self.policy, buffer, top_k=top_k, top_p=top_p)


def model_sha256(model: torch.nn.Module) -> str:
    """Hash all parameters and buffers of a model, in float32."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class ReferenceStore:
    """Where an algorithm's reference comes from; pickles without the reference's weights.

    Args:
        source: `"initial"` for the policy before training, a model, a folder, a hub name, or None for no reference.
    """

    def __init__(self, source: ReferenceSource) -> None:
        self.source: ReferenceSource = source
        self.sha256: str | None = None
        self.is_without_adapter = False
        self.own_parameters: dict[str, Tensor] = {}
        self._reference: Reference | None = None

    def set_up(self, make_policy: Callable[[], GPT2Policy], model_source: object) -> None:
        """Freeze the reference of a new policy.

        Args:
            make_policy: Gives the policy, untrained.
            model_source: What its language model was made from, by which the initial policy can be found again.
        """
        if self.source is None or self.sha256 is not None or self.is_without_adapter:
            return
        policy = make_policy()
        # What a user's policy has of its own, and trains beside the language model.
        of_policy = policy.state_dict().items()
        self.own_parameters = {name: one.cpu().clone() for name, one in of_policy if not name.startswith(PARTS_OF_OURS)}
        if isinstance(self.source, str) and self.source == "initial" and policy.lora is not None:
            # Found again wherever the policy is.
            self.is_without_adapter = True
            return
        if isinstance(self.source, str) and self.source == "initial":
            self._reference = Reference(policy)
            is_name = model_source is None or isinstance(model_source, str | Path)
            self.source = str(model_source or BUNDLED_MODEL) if is_name else policy.language_model
        else:
            self._reference = Reference(policy, load_language_model(self.source))
        self.sha256 = model_sha256(self._reference.policy.language_model)

    def find(self, make_policy: Callable[[], GPT2Policy], given: object = None) -> Reference | None:
        """Return the reference, after loading by its name where it is not in memory.

        Args:
            make_policy: Gives a policy of the reference's temperature, rules and device.
            given: Model, folder or name to take in its place, as passed to `load(…, reference=…)`.

        Returns:
            The reference, or None where there is none.

        Raises:
            ValueError: If it cannot be found again, or is not what it was.
        """
        if self._reference is None and self.is_without_adapter:
            self._reference = self._with_own_parameters(Reference(make_policy()))
        if self._reference is None and self.sha256 is not None:
            source = self.source if given is None else given
            if not isinstance(source, str | Path | PreTrainedModel):
                raise ValueError(
                    "The reference model was given as an object, which is not saved; pass it again: "
                    "load(…, reference=model)."
                )
            model = load_language_model(source)
            if model_sha256(model) != self.sha256:
                raise ChangedReferenceError(
                    f"The reference model {source!r} is not the one that training began with; pass that one: "
                    "load(…, reference=model)."
                )
            self._reference = self._with_own_parameters(Reference(make_policy(), model))
        return self._reference

    def _with_own_parameters(self, reference: Reference) -> Reference:
        """Put back what has been trained since in the policy that a reference was made from."""
        # Files of earlier versions have none.
        reference.policy.load_state_dict(vars(self).get("own_parameters", {}), strict=False)
        return reference

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Return a copy with the same weights, which never change."""
        twin = copy.copy(self)
        vars(twin).update(vars(self))
        return twin

    def __getstate__(self) -> dict[str, object]:
        """Leave the weights out."""
        source = self.source if isinstance(self.source, str | Path) else None
        return {**vars(self), "source": source, "_reference": None}
