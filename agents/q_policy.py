"""Q-network and target network on a causal language model, as Stable-Baselines3's DQN wants its policy."""

from stable_baselines3.dqn.policies import DQNPolicy

from .q_network import GPT2QNetwork
from .value_policy import ValuePolicy


class GPT2QPolicy(ValuePolicy, DQNPolicy):
    """Two `GPT2QNetwork`s, one of them the target; arguments as of `ValuePolicy`."""

    q_net: GPT2QNetwork  # type: ignore[assignment]
    q_net_target: GPT2QNetwork  # type: ignore[assignment]

    @property
    def network(self) -> GPT2QNetwork:  # type: ignore[override]
        """The network that learns and chooses."""
        return self.q_net

    def make_q_net(self) -> GPT2QNetwork:  # type: ignore[override]
        """Make one of the two networks."""
        return GPT2QNetwork(self.observation_space, self.action_space, **self.net_args).to(self.device)
