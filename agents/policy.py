"""A causal language model with language head and value head, as a Stable-Baselines3 actor-critic policy."""

from typing import Any, Self

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn

from textgym.finished_logits import has_finished_logits

from .critic import Critic, check_critic, make_value_head, make_value_trunk
from .first_pass import FirstPass, Results
from .gpt2_step import is_hooked, is_plain_gpt2
from .language_policy import LanguagePolicy
from .lora import LoraSource
from .micro_batches import in_micro_batches
from .number_checks import check_numbers
from .precision import Autocast
from .text_passes import PackedTexts
from .token_distribution import TokenDistribution
from .token_rules import NO_RULES, TokenRules
from .trunk import CacheType
from .trunk_model import ModelSource

# The term of an actor-critic loss that each result of `evaluate_actions` leads to.
LOSSES = {"values": "value loss", "log_prob": "policy loss", "entropy": "entropy loss"}


class GPT2Policy(LanguagePolicy, ActorCriticPolicy):
    """Actor and critic on the trunk of one causal language model.

    Values come from a linear head on a last hidden state, which starts at 0. For the distribution over tokens, the two
    forms of observations, and the arguments not explained here see `LanguagePolicy`.

    It serves plain Stable-Baselines3 and sb3-contrib as well. Their `TRPO` differentiates twice, which PyTorch's fused
    attention cannot: call `model.policy.language_model.set_attn_implementation("eager")` before it learns.

    Args:
        observation_space: The environment's, with keys `input_ids`, `attention_mask`, `is_generated`.
        action_space: `Discrete(V)`.
        lr_schedule: Learning rate as a function of the remaining progress.
        model: A language model, a folder, a hub name, a `transformers` configuration (random weights), or None for
            the bundled GPT-2. Dropout is switched off, since the tokens were sampled without it. An object that is
            passed in is copied.
        critic: `"shared"` values from the actor's trunk; `"separate"` from a copy of it that learns by itself (with
            twice the cost of an update; frozen parts are shared, and an adapter is the critic's own); None for no
            critic, whose values are 0.
        micro_batch_size: Positions of one forward pass within a minibatch. The minibatch is then evaluated in parts
            whose activations are computed again in the backward pass: the same gradient, in the memory of one part,
            for the price of one more forward pass. None keeps all activations.
        temperature: Divides the logits.
        token_rules: Tokens that the environment forbids; the agents of `textgym.agents` fill this in.
        frozen_layers: Number of blocks that are not trained.
        lora: Train a low-rank adapter in place of the model.
        autocast: `"bfloat16"` computes matrix products in it, but for those of decoding where `decoding_dtype` says so.
        gradient_checkpointing: Keep only each block's input for the backward pass.
        optimizer_class: Optimiser of all parameters.
        optimizer_kwargs: Its arguments but the learning rate; None for those of `optimizer_settings`.
        use_sde: Not supported; present because Stable-Baselines3 passes it.

    Raises:
        ValueError: If the vocabulary or context of the model is smaller than the environment's, or an argument is out
            of range.
        TypeError: If the spaces are not those of `TextGen-v0`.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        model: ModelSource = None,
        critic: Critic | None = "shared",
        micro_batch_size: int | None = None,
        temperature: float = 1.0,
        token_rules: TokenRules = NO_RULES,
        frozen_layers: int = 0,
        lora: LoraSource | None = None,
        autocast: Autocast | None = None,
        gradient_checkpointing: bool = False,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        use_sde: bool = False,
    ) -> None:
        if use_sde:
            raise ValueError("use_sde must be False: it explores continuous actions, and tokens are not.")
        check_critic(critic)
        check_numbers({"micro_batch_size": micro_batch_size})
        super().__init__(
            observation_space,
            action_space,
            model=model,
            temperature=temperature,
            token_rules=token_rules,
            frozen_layers=frozen_layers,
            lora=lora,
            autocast=autocast,
            gradient_checkpointing=gradient_checkpointing,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        self.critic = critic
        self.micro_batch_size = micro_batch_size
        self.value_trunk = make_value_trunk(self.language_model) if critic == "separate" else None
        if critic is not None:
            self.value_net = make_value_head(self.width)
        self.optimizer = optimizer_class(
            self.trainable_parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )

    @property
    def is_scored_again(self) -> bool:
        """Whether decoding gives other numbers than an update would, or none, so that a rollout is scored once more.

        Under autocast cached and whole forward passes differ, on the CPU in precision too, and a critic with its own
        trunk is left out of decoding.
        """
        return self.autocast is not None or self.critic == "separate"

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation mode; language model and critic stay in the latter."""
        super().train(mode)
        if self.value_trunk is not None:
            self.value_trunk.eval()
        return self

    def is_bounded(self, greatest_norm: float) -> bool:
        """Tell whether all outputs are finite, for any context, if no weight's Euclidean norm is above a number.

        That can be told of a plain GPT-2, whose products follow upon norms. Where weights have 10⁴ at most, as D has, a
        norm gives vectors of up to 10⁶, products with these 10¹⁰, and scores of attention 10²⁰. A block adds 10¹⁵, so
        that the square of what hundreds of blocks add up stays far below float32's greatest, 3 · 10³⁸.
        """
        return greatest_norm <= 1e4 and self.width <= 10_000 and self.temperature >= 1e-3 and self._is_plain()

    def _is_plain(self) -> bool:
        """Whether trunks and heads are those of a GPT-2 with nothing put into them, and used as they are here."""
        trunks = [trunk for trunk in (self.language_model.base_model, self.value_trunk) if trunk is not None]
        has_plain_head = self.plain_head is not None and not has_finished_logits(self.language_model.config)
        has_plain_critic = self.critic is None or (type(self.value_net) is nn.Linear and not is_hooked(self.value_net))
        return (
            type(self) is GPT2Policy  # a subclass may compute anything
            and has_plain_head
            and has_plain_critic
            and all(is_plain_gpt2(trunk) and trunk.config.layer_norm_epsilon >= 1e-12 for trunk in trunks)
        )

    def values_of(self, hidden: Tensor) -> Tensor:
        """Return the value of the actor's hidden states, shape (N, D), as float32, shape (N,).

        Zeros where the actor's hidden states are not what the critic sees.
        """
        if self.critic != "shared":
            return torch.zeros(len(hidden), device=hidden.device)
        values: Tensor = self.value_net(hidden)[:, 0].float()
        return values

    def _values(self, obs: PyTorchObs, hidden: Tensor | None = None) -> Tensor:
        """Return the value at each decision, shape (N, 1); `hidden` is the actor's, where it is known."""
        if self.value_trunk is not None:
            values: Tensor = self.value_net(self.decisions(obs, self.value_trunk)[0]).float()
            return values
        return self.values_of(self.decisions(obs)[0] if hidden is None else hidden)[:, None]

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Choose an action for each decision.

        Returns:
            Actions, values, shape (N, 1), and log-probabilities, shape (N,).
        """
        hidden, n_generated = self.decisions(obs)
        uniforms = torch.rand(len(hidden), device=hidden.device)
        candidates = self.stored_candidates(obs, hidden, n_generated)
        actions, log_prob = self.choose(hidden, n_generated, uniforms, deterministic, candidates=candidates)
        return actions, self._values(obs, hidden), log_prob

    def evaluate_actions(self, obs: PyTorchObs, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return values, shape (N, 1), log-probabilities and entropies, shape (N,), of the actions taken."""
        first_pass = self.memory.take_first_pass(self, obs, self.choice_settings)
        if first_pass is not None:
            values, log_prob, entropy = first_pass
        elif self.micro_batch_size is None or isinstance(obs, Tensor) or "is_decision" not in obs:
            values, log_prob, entropy = self._evaluate(obs, actions)
        else:
            values, log_prob, entropy = in_micro_batches(self._evaluate, obs, actions, self.micro_batch_size)
        self.term_watch.watch({"values": values, "log_prob": log_prob, "entropy": entropy}, LOSSES)
        return values, log_prob, entropy

    def evaluate_ahead(self, batch: PackedTexts) -> Results:
        """Evaluate the tokens of a packed batch before the update that begins with just that.

        The first pass with gradients that asks for this very batch gets the same results, as long as no weight has
        changed, and can be differentiated once. Whoever calls this lets the `memory` forget it in the end.

        Returns:
            As `evaluate_tokens`, without gradients.
        """
        with torch.enable_grad():
            results = self._evaluate(batch, batch.chosen)
        self.memory.first_pass = FirstPass(self, batch, results, self.choice_settings)
        values, log_prob, entropy = (part.detach() for part in results)
        return values, log_prob, entropy

    def prepared(self, cache: CacheType) -> CacheType:
        """See `Trunk.prepared`. Who decodes between a rollout and its update wants the room of the first pass."""
        self.memory.first_pass = None
        return super().prepared(cache)

    def _evaluate(self, obs: PyTorchObs, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden, n_generated = self.decisions(obs)
        candidates = self.stored_candidates(obs, hidden, n_generated)
        log_prob, entropy = self.statistics_of(hidden, n_generated, actions.long().flatten(), candidates)
        return self._values(obs, hidden), log_prob, entropy

    def evaluate_tokens(self, obs: PyTorchObs, token_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate single tokens, as `evaluate_actions` does, whatever an action is to a subclass."""
        return GPT2Policy.evaluate_actions(self, obs, token_ids)

    def get_distribution(self, obs: PyTorchObs) -> Distribution:
        """Return the distribution over tokens at each decision."""
        hidden, n_generated = self.decisions(obs)
        logits = self.decision_logits(hidden, n_generated, self.stored_candidates(obs, hidden, n_generated))
        return TokenDistribution(self.vocab_size).proba_distribution(logits)

    def predict_values(self, obs: PyTorchObs) -> Tensor:
        """Return the value at each decision, shape (N, 1).

        Its gradient reaches the critic's own parameters and not a trunk that the actor shares: TRPO, which alone
        differentiates it, would drop the rest.
        """
        if self.value_trunk is not None:
            values = self._values(obs)
        else:
            with torch.no_grad():
                hidden, _ = self.decisions(obs)
            values = self._values(obs, hidden)
        self.term_watch.watch({"values": values}, LOSSES)
        return values

    def reset_noise(self, n_envs: int = 1) -> None:
        """Do nothing: there is no state-dependent exploration here."""

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            **super()._get_constructor_parameters(),
            "critic": self.critic,
            "micro_batch_size": self.micro_batch_size,
            # The optimiser's rate is loaded.
            "lr_schedule": _no_learning,
        }


def _no_learning(progress_remaining: float) -> float:
    return 0.0
