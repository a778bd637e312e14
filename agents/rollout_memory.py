"""What a rollout has computed and the update after it would compute again, kept between the two."""

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .choice_record import KnownChoices
from .first_pass import FirstPass, Results
from .forward_record import DecodingPlan, ForwardRecord, KnownTexts


class RolloutMemory:
    """Results of a rollout, each of which the next update takes once, as long as no weight has changed.

    It is left out of copies and pickles of a policy, which begin with an empty one.

    Attributes:
        plan: What is being decoded, where an update can make use of it, else None.
        record: The products that decoding has computed, or None.
        first_pass: The forward pass that scored the rollout, or None.
    """

    def __init__(self) -> None:
        self.plan: DecodingPlan | None = None
        self.forget()

    def __reduce__(self) -> tuple[type["RolloutMemory"], tuple[()]]:
        """Leave out what belongs to the weights of one policy."""
        return type(self), ()

    def forget(self) -> None:
        """Drop what the last rollout has left."""
        self.record: ForwardRecord | None = None
        self.first_pass: FirstPass | None = None
        # Hidden states, and the distributions over tokens that are known of them.
        self._choices: tuple[Tensor, KnownChoices] | None = None

    @contextmanager
    def recording(self, plan: DecodingPlan | None) -> Iterator[None]:
        """Let the next update make use of what is decoded, where there is a plan; after an error nothing is kept."""
        self.forget()
        self.plan = plan
        try:
            yield
        except BaseException:
            self.forget()
            raise
        finally:
            self.plan = None

    def take_texts(self, model: PreTrainedModel, obs: Mapping[str, Tensor], settings: Hashable) -> KnownTexts | None:
        """Return what decoding has computed of texts, to the first pass with gradients that asks.

        Args:
            model: The language model as it is now.
            obs: The texts, packed.
            settings: What distributions over tokens follow from, besides weights.
        """
        if not torch.is_grad_enabled():
            return None
        record, self.record = self.record, None
        return None if record is None else record.find(model, obs, settings)

    def take_first_pass(self, policy: nn.Module, obs: object, settings: Hashable) -> Results | None:
        """Return what scoring has computed of a batch, to the first pass with gradients that asks."""
        if not torch.is_grad_enabled():
            return None
        first_pass, self.first_pass = self.first_pass, None
        return None if first_pass is None else first_pass.results_for(policy, obs, settings)

    def keep_choices(self, hidden: Tensor, choices: KnownChoices | None) -> None:
        """Keep the distributions that follow upon hidden states, shape (N, D), until these are asked for."""
        self._choices = None if choices is None else (hidden, choices)

    def take_choices(self, hidden: Tensor) -> KnownChoices | None:
        """Return the distributions that follow upon these very hidden states, once."""
        kept, self._choices = self._choices, None
        return kept[1] if kept is not None and kept[0] is hidden else None
