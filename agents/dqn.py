"""Deep Q-learning on whole text episodes."""

from typing import ClassVar, Unpack

from stable_baselines3 import DQN as PlainDQN
from stable_baselines3.common.type_aliases import GymEnv

from .off_policy import SequenceOffPolicyAlgorithm, ValueOptions
from .q_policy import GPT2QPolicy


class DQN(SequenceOffPolicyAlgorithm, PlainDQN):
    """Stable-Baselines3's DQN with cached rollouts and a replay of whole episodes; its `train` runs unchanged.

    All that counts steps in Stable-Baselines3 counts tokens here.

    Args:
        policy: `"GPT2Policy"`, which is `GPT2QPolicy` here, or a subclass of it.
        env: A TextGym id, Env, VectorEnv or VecEnv; `load` needs none to predict.
        **options: See `ValueOptions`.

    Reference:
        Mnih et al. (2015), Nature 518, 529-533.
    """

    policy_aliases: ClassVar[dict[str, type[GPT2QPolicy]]] = {  # type: ignore[assignment]
        "GPT2Policy": GPT2QPolicy,
        "GPT2QPolicy": GPT2QPolicy,
    }
    policy: GPT2QPolicy

    def __init__(
        self, policy: str | type[GPT2QPolicy], env: GymEnv | str | None, **options: Unpack[ValueOptions]
    ) -> None:
        super().__init__(policy, env, **options)
