"""Deep Q-learning of the return's quantiles on whole text episodes."""

from typing import Any, ClassVar, Unpack

from gymnasium import spaces
from sb3_contrib import QRDQN as PlainQRDQN
from stable_baselines3.common.type_aliases import GymEnv

from .number_checks import check_numbers
from .off_policy import SequenceOffPolicyAlgorithm, ValueOptions
from .quantile_policy import GPT2QuantilePolicy

MOST_BYTES = 4 << 30
# Logits, their normalised form, quantiles, and the gradients of two of them live at one time.
TENSORS_AT_ONCE = 5


class QRDQN(SequenceOffPolicyAlgorithm, PlainQRDQN):
    """sb3-contrib's QR-DQN with cached rollouts and a replay of whole episodes; its `train` runs unchanged.

    It computes `n_quantiles` numbers for each of `batch_size` tokens and each token of the vocabulary, for which a
    large vocabulary leaves no room.

    Args:
        policy: `"GPT2Policy"`, which is `GPT2QuantilePolicy` here, or a subclass of it.
        env: A TextGym id, Env, VectorEnv or VecEnv; `load` needs none to predict.
        **options: See `ValueOptions`; `policy_kwargs` takes `n_quantiles`, 8 by default.

    Raises:
        ValueError: If an update would need more than 4 GiB.

    Reference:
        Dabney et al. (2018), arXiv:1710.10044.
    """

    policy_aliases: ClassVar[dict[str, type[GPT2QuantilePolicy]]] = {  # type: ignore[assignment]
        "GPT2Policy": GPT2QuantilePolicy,
        "GPT2QuantilePolicy": GPT2QuantilePolicy,
    }
    policy: GPT2QuantilePolicy

    def __init__(
        self, policy: str | type[GPT2QuantilePolicy], env: GymEnv | str | None, **options: Unpack[ValueOptions]
    ) -> None:
        super().__init__(policy, env, **options)

    def _setup_model(self) -> None:
        self._check_memory()
        super()._setup_model()

    def _check_memory(self) -> None:
        if not isinstance(self.action_space, spaces.Discrete):
            return
        arguments: dict[str, Any] = self.policy_kwargs
        n_quantiles = arguments.get("n_quantiles", 8)
        check_numbers({"n_quantiles": n_quantiles})
        n_bytes = TENSORS_AT_ONCE * 4 * self.batch_size * n_quantiles * int(self.action_space.n)
        if n_bytes > MOST_BYTES:
            raise ValueError(
                f"An update would need about {n_bytes / (1 << 30):.1f} GiB, for {n_quantiles} quantiles of each of "
                f"{int(self.action_space.n):,} tokens after each of {self.batch_size} contexts, above "
                f"{MOST_BYTES / (1 << 30):.0f} GiB; lower batch_size or policy_kwargs['n_quantiles'], or take DQN or "
                "DoubleDQN."
            )
