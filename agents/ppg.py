"""Phasic policy gradient: PPO, and a phase now and then in which the trunk learns what the critic knows."""

from collections import defaultdict
from functools import partial
from typing import Any, ClassVar, Unpack

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO as PlainPPO
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, PyTorchObs, Schedule
from torch import Tensor

from .chunking import in_chunks
from .clipped import ClippedAlgorithm, ClippedOptions
from .kl import exact_kl
from .micro_batches import in_micro_batches
from .number_checks import check_numbers
from .past_rollouts import PastRollouts
from .policy import GPT2Policy
from .reference import frozen_copy
from .scoring import frozen_hidden_of

# The term of the auxiliary loss that each of its parts leads to.
AUXILIARY_LOSSES = {"auxiliary value errors": "auxiliary value loss", "auxiliary KL": "clone loss"}


class PhasicPolicy(GPT2Policy):
    """A `GPT2Policy` whose critic shapes the trunk in the auxiliary phase alone.

    Args:
        observation_space: The environment's.
        action_space: `Discrete(V)`.
        lr_schedule: Learning rate as a function of the remaining progress.
        **arguments: All other arguments are those of `GPT2Policy`.

    Attributes:
        is_auxiliary_phase: Whether the critic's gradient reaches the trunk.

    Raises:
        ValueError: If `critic` is not `"shared"`.
    """

    is_auxiliary_phase = False

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        **arguments: Any,
    ) -> None:
        critic = arguments.get("critic", "shared")
        if critic != "shared":
            raise ValueError(
                "critic must be 'shared' with PPG, whose auxiliary phase teaches the actor's trunk what the critic "
                f"knows, got {critic!r}; PPO takes the others."
            )
        super().__init__(observation_space, action_space, lr_schedule, **arguments)

    def values_of(self, hidden: Tensor) -> Tensor:
        """Return the critic's value of hidden states, shape (N, D), as float32, shape (N,)."""
        return super().values_of(hidden if self.is_auxiliary_phase else hidden.detach())


class PPG(ClippedAlgorithm, PlainPPO):
    """PPO in which policy and critic share a trunk without pulling it apart.

    While PPO learns, the value loss reaches the value head only. After every `n_policy_iterations` rollouts comes an
    auxiliary phase: over all their episodes, the values are fitted to the returns through the trunk, while the policy
    is held to what it was before by its KL, token by token over the whole vocabulary:

        L = ½ E[(V − V̂)²] + β_clone E[KL(π_old ‖ π)].

    This is the paper's variant with a single network, since a second trunk would double a language model.
    Rollouts are kept as tokens and returns; π_old is a copy that reads them again.

    Args:
        policy: `"GPT2Policy"` or `"PhasicPolicy"`, which is meant by both, or a subclass of it.
        env: A TextGym id, Env, VectorEnv or VecEnv; `load` needs none to predict.
        n_policy_iterations: Rollouts between two auxiliary phases, N_π.
        n_aux_epochs: Passes over these rollouts in an auxiliary phase, E_aux.
        beta_clone: Weight of the KL.
        **options: All other arguments are those of `PPO`; `batch_size`, `learning_rate` and `max_grad_norm` also
            serve the auxiliary phase.

    Raises:
        ValueError: If one of the numbers is out of range.

    Reference:
        Cobbe et al. (2020), arXiv:2009.04416, algorithm 1.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "GPT2Policy": PhasicPolicy,
        "PhasicPolicy": PhasicPolicy,
    }
    policy: PhasicPolicy

    def __init__(
        self,
        policy: str | type[PhasicPolicy],
        env: GymEnv | str | None,
        *,
        n_policy_iterations: int = 8,
        n_aux_epochs: int = 2,
        beta_clone: float = 1.0,
        **options: Unpack[ClippedOptions],
    ) -> None:
        check_numbers(
            {"n_policy_iterations": n_policy_iterations, "n_aux_epochs": n_aux_epochs, "beta_clone": beta_clone}
        )
        self.n_policy_iterations = n_policy_iterations
        self.n_aux_epochs = n_aux_epochs
        self.beta_clone = beta_clone
        self.past_rollouts = PastRollouts()
        super().__init__(policy, env, **options)

    def train(self) -> None:
        """Update as PPO does, and let the auxiliary phase follow when it is time."""
        super().train()
        self.past_rollouts.add(self.rollout_buffer)
        if len(self.past_rollouts) >= self.n_policy_iterations:
            self.policy.is_auxiliary_phase = True
            try:
                with self._looking():
                    self._learn_auxiliary()
            finally:
                self.policy.is_auxiliary_phase = False
            self.past_rollouts.clear()

    def _learn_auxiliary(self) -> None:
        buffer = self.past_rollouts.joined(self.rollout_buffer)
        if self.policy.n_shared_layers:
            buffer.keep_frozen_hidden(frozen_hidden_of(self.policy, buffer))
        old_policy = frozen_copy(self.policy)
        logged: dict[str, list[float]] = defaultdict(list)
        for _ in range(self.n_aux_epochs):
            for batch in buffer.get(self.batch_size):
                value_loss, kl = self._auxiliary_losses(old_policy, batch.observations, batch.returns)
                self.policy.optimizer.zero_grad()
                (value_loss + self.beta_clone * kl).backward()
                torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
                self.policy.optimizer.step()
                logged["aux_value_loss"].append(value_loss.item())
                logged["aux_kl"].append(kl.item())
        for name, numbers in logged.items():
            self.logger.record(f"train/{name}", np.mean(numbers))

    def _auxiliary_losses(self, old_policy: GPT2Policy, obs: PyTorchObs, returns: Tensor) -> tuple[Tensor, Tensor]:
        """Return half the mean squared error of the values, and the mean KL from the policy before the phase."""
        evaluate = partial(self._auxiliary_terms, old_policy)
        size = self.policy.micro_batch_size
        if size is None or isinstance(obs, Tensor):
            squares, kl = evaluate(obs, returns)
        else:
            squares, kl = in_micro_batches(evaluate, obs, returns, size)
        self.policy.term_watch.watch({"auxiliary value errors": squares, "auxiliary KL": kl}, AUXILIARY_LOSSES)
        return squares.mean() / 2, kl.mean()

    def _auxiliary_terms(self, old_policy: GPT2Policy, obs: PyTorchObs, returns: Tensor) -> tuple[Tensor, ...]:
        """Return the squared error of each value, and the KL at each decision, shape (N,) each."""
        hidden, n_generated = self.policy.decisions(obs)
        with torch.no_grad():
            old_hidden, _ = old_policy.decisions(obs)

        def kl_of(hidden: Tensor, old_hidden: Tensor, n_generated: Tensor) -> tuple[Tensor]:
            old_logits = old_policy.decision_logits(old_hidden, n_generated)
            return (exact_kl(old_logits, self.policy.decision_logits(hidden, n_generated)),)

        (kl,) = in_chunks(kl_of, self.policy.rows_per_chunk, hidden, old_hidden, n_generated)
        return (self.policy.values_of(hidden) - returns).square(), kl
