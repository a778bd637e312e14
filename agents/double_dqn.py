"""Double Q-learning on whole text episodes: one network says which token is best, the other what it is worth."""

from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor, nn

from .dqn import DQN
from .q_network import GPT2QNetwork


class DoubleTarget(nn.Module):
    """In the place of DQN's target network: its value of the token that the online network takes for the best.

    Q'(s, argmax_a Q(s, a))

    The maximum over a noisy estimate is too high on average; choosing by another estimate than the one that is read
    makes it less so.

    Args:
        online: Chooses.
        target: Says what the choice is worth; its parameters are this module's.

    Reference:
        van Hasselt et al. (2016), arXiv:1509.06461, eq. 4.
    """

    def __init__(self, online: GPT2QNetwork, target: GPT2QNetwork) -> None:
        super().__init__()
        self.target = target
        # Not registered, so that only the target's parameters follow the online network's.
        self._online = (online,)

    def forward(self, obs: PyTorchObs) -> Tensor:
        """Return the value at each decision, shape (N, 1), of which DQN's maximum over tokens is itself."""
        best = self._online[0](obs).argmax(dim=1, keepdim=True)
        q_values: Tensor = self.target(obs).gather(1, best)
        return q_values


class DoubleDQN(DQN):
    """DQN whose target network is read at the online network's best token; arguments as for `DQN`.

    Reference:
        van Hasselt et al. (2016), arXiv:1509.06461.
    """

    q_net_target: DoubleTarget  # type: ignore[assignment]

    def _create_aliases(self) -> None:
        super()._create_aliases()
        self.q_net_target = DoubleTarget(self.policy.q_net, self.policy.q_net_target)
