"""Quantiles of each next token's return, from a causal language model, as sb3-contrib's QR-DQN wants its policy."""

from typing import Any, Unpack

from gymnasium import spaces
from sb3_contrib.qrdqn.policies import QRDQNPolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor, nn

from .number_checks import check_numbers
from .q_network import GPT2QNetwork
from .token_rules import NO_RULES, TokenRules
from .trunk_model import ModelSource, TrunkOptions
from .value_policy import ValuePolicy


class GPT2QuantileNetwork(GPT2QNetwork):
    """The quantiles of what each next token will bring; its value is their mean.

    θ_i(s, a) = V_i(s) + τ log π_i(a|s)

    Each quantile i has a V_i, and a π_i whose hidden states are h + U_i h. V and U start at 0, where all quantiles are
    what `GPT2QNetwork` starts with.

    Args:
        observation_space: The environment's, with keys `input_ids`, `attention_mask`, `is_generated`.
        action_space: `Discrete(V)`.
        n_quantiles: Number of quantiles.
        model: See `LanguagePolicy`.
        advantage_scale: τ, in units of reward per nat.
        token_rules: Tokens that the environment forbids.
        **options: See `GPT2QNetwork`.

    Raises:
        ValueError: If `n_quantiles` is below 1, or as `GPT2QNetwork` says.

    Reference:
        Dabney et al. (2018), arXiv:1710.10044.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        n_quantiles: int = 8,
        model: ModelSource = None,
        advantage_scale: float = 0.1,
        token_rules: TokenRules = NO_RULES,
        **options: Unpack[TrunkOptions],
    ) -> None:
        check_numbers({"n_quantiles": n_quantiles})
        self.n_quantiles = n_quantiles
        super().__init__(
            observation_space,
            action_space,
            model=model,
            advantage_scale=advantage_scale,
            token_rules=token_rules,
            **options,
        )
        self.quantile_offsets = nn.Linear(self.width, n_quantiles * self.width, bias=False)
        nn.init.zeros_(self.quantile_offsets.weight)

    def forward(self, obs: PyTorchObs) -> Tensor:
        """Return the quantiles of each token's return at each decision, shape (N, Q, V)."""
        hidden, n_generated = self.decisions(obs)
        quantiles = self.quantiles(hidden, n_generated)
        self.term_watch.watch({"quantiles": quantiles}, {"quantiles": "loss"})
        return self._without_others(quantiles, obs)

    def quantiles(self, hidden: Tensor, n_generated: Tensor) -> Tensor:
        """Return the quantiles of each token's return, shape (N, Q, V), after hidden states, shape (N, D)."""
        n_rows, n_quantiles = len(hidden), self.n_quantiles
        moved = hidden[:, None] + self.quantile_offsets(hidden).view(n_rows, n_quantiles, self.width)  # (N, Q, D)
        advantages = self.advantages(moved.flatten(0, 1), n_generated.repeat_interleave(n_quantiles))
        values = self.value_net(hidden).float()  # (N, Q)
        return self.finite(values[:, :, None] + advantages.view(n_rows, n_quantiles, self.vocab_size))

    def q_values(self, hidden: Tensor, n_generated: Tensor) -> Tensor:
        """Return the mean return of each token, shape (N, V), after hidden states, shape (N, D)."""
        return self.quantiles(hidden, n_generated).mean(dim=1)

    def _make_value_head(self) -> nn.Linear:
        return self._zero_linear(self.n_quantiles)


class GPT2QuantilePolicy(ValuePolicy, QRDQNPolicy):
    """Two `GPT2QuantileNetwork`s, one of them the target; arguments as of `ValuePolicy`, and `n_quantiles`."""

    quantile_net: GPT2QuantileNetwork  # type: ignore[assignment]
    quantile_net_target: GPT2QuantileNetwork  # type: ignore[assignment]

    @property
    def network(self) -> GPT2QuantileNetwork:  # type: ignore[override]
        """The network that learns and chooses."""
        return self.quantile_net

    @property
    def n_quantiles(self) -> int:  # type: ignore[override]
        """Number of quantiles, which QR-DQN's loss asks for."""
        return self.quantile_net.n_quantiles

    def make_quantile_net(self) -> GPT2QuantileNetwork:  # type: ignore[override]
        """Make one of the two networks."""
        return GPT2QuantileNetwork(self.observation_space, self.action_space, **self.net_args).to(self.device)
