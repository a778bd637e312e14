"""Trust-region policy optimisation on whole text episodes."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Unpack

import numpy as np
import torch
from sb3_contrib import TRPO as PlainTRPO
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, RolloutBufferSamples, Schedule
from torch import Tensor, nn

from .episode_buffer import EpisodeBuffer
from .fisher_matrix import FisherMatrix
from .number_checks import check_numbers
from .on_policy import SequenceOnPolicyAlgorithm, SequenceOptions
from .policy import GPT2Policy
from .term_watch import is_spoilt


class TRPO(SequenceOnPolicyAlgorithm, PlainTRPO):
    """sb3-contrib's TRPO with cached rollouts of whole episodes; its `train` runs unchanged.

    The step is the natural gradient's, as long as the trust region allows, and shortened until the objective has
    risen inside of it; then the critic learns. Three things make that fit a language model. Gradients of all parameters
    come from one backward pass, where sb3-contrib makes one for each. The curvature of KL is the Fisher matrix, whose
    products need no second derivatives (see `FisherMatrix`). And these, of which there are `cg_max_steps`, are measured
    on a share of the episodes (Schulman et al. 2015, appendix C); objective, gradient and the trust region itself are
    those of all of them.

    The critic must be a function of the actor's trunk or have a trunk of its own: of what they share, the critic's
    gradient changes nothing. Attention is switched to the implementation that can be differentiated twice.

    Arguments that sb3-contrib has too mean what they mean there; the defaults are a language model's.

    Args:
        policy: `"GPT2Policy"`, or a subclass of it.
        env: A TextGym id, Env, VectorEnv or VecEnv; `load` needs none to predict.
        learning_rate: The critic's: a number, or a function of the remaining progress.
        n_steps: Tokens a row and rollout; None for 4,096 tokens a rollout. A rollout is whole episodes, so that its
            tokens come out about `n_steps × n_envs`: as many episodes as that is at the last rollout's mean length.
        batch_size: Tokens a minibatch of the critic, nearly; a minibatch is whole episodes.
        gamma: Discount. At 1 a token's position in the completion does not change what it is worth.
        cg_max_steps: Steps of the conjugate gradient.
        cg_damping: Added to the diagonal of the curvature.
        line_search_shrinking_factor: What a step that is too long is multiplied by.
        line_search_max_iter: How often; then the policy stays as it is.
        n_critic_updates: The critic's passes over each rollout.
        gae_lambda: See `generalized_advantages`.
        normalize_advantage: Scale a rollout's advantages to mean 0 and standard deviation 1.
        target_kl: Nats a token that one update may move the policy.
        sub_sampling_factor: Of this many tokens the policy's update uses one. It bounds memory, which grows with
            tokens × vocabulary, about 40 bytes for each of both.
        curvature_share: Share of the rollout's episodes, at least one, that the curvature is measured on.
        **options: See `SequenceOptions`.

    Raises:
        ValueError: If a number is out of range, or the policy has no critic, or a `micro_batch_size`.

    Reference:
        Schulman et al. (2015), arXiv:1502.05477.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"GPT2Policy": GPT2Policy}

    def __init__(
        self,
        policy: str | type[GPT2Policy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 1e-3,
        n_steps: int | None = None,
        batch_size: int = 512,
        gamma: float = 1.0,
        cg_max_steps: int = 10,
        cg_damping: float = 0.01,
        line_search_shrinking_factor: float = 0.8,
        line_search_max_iter: int = 10,
        n_critic_updates: int = 5,
        gae_lambda: float = 0.95,
        normalize_advantage: bool = True,
        target_kl: float = 0.01,
        sub_sampling_factor: int = 1,
        curvature_share: float = 0.25,
        **options: Unpack[SequenceOptions],
    ) -> None:
        check_numbers({"batch_size": batch_size, "curvature_share": curvature_share})
        self._curvature: FisherMatrix | None = None
        self.curvature_share = curvature_share
        super().__init__(
            policy,
            env,
            n_steps=n_steps,
            learning_rate=learning_rate,
            # Ours counts tokens and is set below; sb3-contrib would warn that it does not divide its own n_steps.
            batch_size=2,
            gamma=gamma,
            cg_max_steps=cg_max_steps,
            cg_damping=cg_damping,
            line_search_shrinking_factor=line_search_shrinking_factor,
            line_search_max_iter=line_search_max_iter,
            n_critic_updates=n_critic_updates,
            gae_lambda=gae_lambda,
            normalize_advantage=normalize_advantage,
            target_kl=target_kl,
            sub_sampling_factor=sub_sampling_factor,
            **options,
        )
        self.batch_size = batch_size

    @property
    def _learns_at_once(self) -> bool:
        return False  # its passes are differentiated more than once

    def _choose_buffer(self, seed: int) -> None:
        super()._choose_buffer(seed)
        self.rollout_buffer_class = SliceableEpisodeBuffer

    def _setup_model(self) -> None:
        super()._setup_model()
        if self.policy.critic is None:
            raise ValueError("critic must be 'shared' or 'separate' with TRPO, which trains it apart, got None.")
        if self.policy.micro_batch_size is not None:
            raise ValueError(
                "micro_batch_size must be None with TRPO, whose step needs the distributions of all tokens at once, "
                f"got {self.policy.micro_batch_size}; sub_sampling_factor and gradient_checkpointing save memory."
            )
        self.policy.language_model.set_attn_implementation("eager")
        if self.policy.value_trunk is not None:
            # Needs it as little as before, but would have it after `load`, which makes it from the other's settings.
            self.policy.value_trunk.set_attn_implementation("eager")

    def train(self) -> None:
        """Update as sb3-contrib does, with random numbers that follow from seed and number of the update."""
        with random_numbers_of(self.seed or 0, self._n_updates, self.device):
            try:
                super().train()
            finally:
                self._curvature = None  # it holds a graph, which nothing can save

    def _compute_actor_grad(
        self, kl_div: Tensor, policy_objective: Tensor
    ) -> tuple[list[nn.Parameter], Tensor, Tensor, list[tuple[int, ...]]]:
        """Return the actor's parameters, the objective's gradient, KL's, which is 0, and shapes.

        The actor's parameters are those that the objective depends on, whatever their names. Of KL's gradient
        sb3-contrib needs only what `hessian_vector_product` makes of it.

        Raises:
            NonFiniteError: If the objective's gradient is NaN or infinite.
        """
        parameters = [parameter for parameter in self.policy.parameters() if parameter.requires_grad]
        # The graph of all episodes is let go before that of the sampled ones is made.
        found = torch.autograd.grad(policy_objective, parameters, allow_unused=True)
        pairs = [pair for pair in zip(parameters, found, strict=True) if pair[1] is not None]
        actor = [parameter for parameter, _ in pairs]
        objective_gradient = torch.cat([gradient.flatten() for _, gradient in pairs])
        # The step is not an optimiser's, whose gradients are looked at.
        if is_spoilt(objective_gradient):
            raise self._non_finite("the gradient of the policy objective")
        self._curvature = FisherMatrix(self._sampled_log_prob(), actor)
        kl_gradient = torch.zeros_like(objective_gradient)
        return actor, objective_gradient, kl_gradient, [parameter.shape for parameter in actor]

    def hessian_vector_product(
        self, params: list[nn.Parameter], grad_kl: Tensor, vector: Tensor, retain_graph: bool = True
    ) -> Tensor:
        """Return the damped curvature of KL times a vector; what curves is what `_compute_actor_grad` has found."""
        if self._curvature is None:
            raise RuntimeError("hessian_vector_product is for use within train.")
        return self._curvature.times(vector, retain_graph) + self.cg_damping * vector

    def _sampled_log_prob(self) -> Tensor:
        """Return the log-probabilities of all tokens at each decision of some episodes, shape (N, V)."""
        n_episodes = len(self.rollout_buffer.lengths)
        order = np.random.default_rng((self.seed or 0, self._n_updates)).permutation(n_episodes)
        batch = SliceableBatch(self.rollout_buffer.packed(order[: math.ceil(self.curvature_share * n_episodes)]))
        distribution: Any = self.policy.get_distribution(batch[:: self.sub_sampling_factor]).distribution
        log_prob: Tensor = distribution.logits  # normalised
        return log_prob


class SliceableBatch(dict[str, Tensor]):
    """A packed batch, of which a slice leaves out decisions, since sb3-contrib's TRPO slices what it trains on."""

    def __getitem__(self, key: Any) -> Any:
        """Return a tensor by its name, or the batch with some of its decisions only."""
        if not isinstance(key, slice):
            return super().__getitem__(key)
        selected, n_generated = self.get("selected"), self.get("n_generated")
        if selected is None or n_generated is None:
            is_decision = self["is_decision"]
            n_generated = (is_decision.long().cumsum(dim=1) - 1)[is_decision]
            selected = torch.arange(len(n_generated), device=is_decision.device)
        return SliceableBatch(self, selected=selected[key], n_generated=n_generated[key])


class SliceableEpisodeBuffer(EpisodeBuffer):
    """An `EpisodeBuffer` whose observations can be sliced."""

    def samples(self, episodes: np.ndarray) -> RolloutBufferSamples:
        """Pack the given episodes, by number, longest first."""
        batch = super().samples(episodes)
        return batch._replace(observations=SliceableBatch(batch.observations))  # type: ignore[arg-type]


@contextmanager
def random_numbers_of(seed: int, update: int, device: torch.device) -> Iterator[None]:
    """Let torch's generators begin at numbers that belong to an update, and leave them as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence((seed, update)).generate_state(1)[0]))
        yield
