"""What algorithms without a critic share: a completion is compared with other completions instead."""

from typing import Any, Literal, get_args

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import GymEnv
from torch import Tensor

from .advantages import MovingAverage, group_normalized_advantages, leave_one_out_advantages
from .on_policy import SequenceOnPolicyAlgorithm
from .policy import GPT2Policy

Baseline = Literal["none", "moving_average", "leave_one_out", "group_normalized"]
GROUP_BASELINES = ("leave_one_out", "group_normalized")
WITHOUT_EFFECT = {
    "self_imitation": "a critic, which expects what a replayed episode brings",
    "potential_shaping": "advantages of single tokens",
}
OF_A_CRITIC = ("gamma", "gae_lambda", "vf_coef", "clip_range_vf")


class CriticFreeAlgorithm(SequenceOnPolicyAlgorithm):
    """A mixin before an actor-critic algorithm on the sequence path, whose critic it takes away.

    Each token of a completion has the advantage of the completion: the sum of its rewards, which the price of KL is
    part of, less a baseline. The policy has `critic=None`, without being told.

    Args:
        policy: As in the algorithm.
        env: Likewise.
        baseline: `"none"`; `"moving_average"` of earlier rollouts; `"leave_one_out"` or `"group_normalized"` over the
            `completions_per_prompt` completions of one prompt.
        **plain: The algorithm's other arguments.

    Raises:
        ValueError: If the baseline is unknown, or an argument needs a critic.
    """

    def __init__(
        self, policy: str | type[GPT2Policy], env: GymEnv | str | None, *, baseline: Baseline, **plain: Any
    ) -> None:
        if baseline not in get_args(Baseline):
            raise ValueError(f"baseline must be one of {get_args(Baseline)}, got {baseline!r}.")
        for name, needed in WITHOUT_EFFECT.items():
            if plain.get(name):
                raise ValueError(
                    f"{name} needs {needed}, and {type(self).__name__} has none. Leave it out, or use PPO or A2C."
                )
        for name in OF_A_CRITIC:
            if name in plain:
                raise ValueError(
                    f"{name} must be left out with {type(self).__name__}: a completion is one decision, whose rewards "
                    "are not discounted, and there is no critic. PPO and A2C take it."
                )
        policy_kwargs = {"critic": None, **(plain.pop("policy_kwargs", None) or {})}
        if policy_kwargs["critic"] is not None:
            raise ValueError(
                f"critic must be None with {type(self).__name__}, which learns no values, got "
                f"{policy_kwargs['critic']!r}; leave it out, or use PPO or A2C."
            )
        self.baseline: Baseline = baseline
        self.moving_average = MovingAverage()
        super().__init__(policy, env, vf_coef=0.0, gamma=1.0, gae_lambda=1.0, policy_kwargs=policy_kwargs, **plain)

    def estimate_advantages(self, rewards: Tensor, values: Tensor) -> Tensor:
        """Give each token the advantage of its completion, shape (B, T)."""
        returns = rewards.sum(dim=1)
        if self.baseline == "none":
            advantages = returns
        elif self.baseline == "moving_average":
            advantages = self.moving_average.advantages(returns)
        elif self.baseline == "leave_one_out":
            advantages = leave_one_out_advantages(returns, self.task.completions_per_prompt)
        else:
            advantages = group_normalized_advantages(returns, self.task.completions_per_prompt)
        return advantages[:, None].expand_as(rewards)

    def train(self) -> None:
        """Update the policy as Stable-Baselines3 does, and log nothing of a critic."""
        super().train()
        for name in ("train/value_loss", "train/explained_variance"):
            # Stable-Baselines3's TensorBoard writer wants both to have the same names.
            self.logger.name_to_value.pop(name, None)
            self.logger.name_to_excluded.pop(name, None)

    def _setup_model(self) -> None:
        if self.env is not None:
            self._check_groups()
        super()._setup_model()
        self.rollout_buffer.estimator = self.estimate_advantages

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        # The environment may have been set since.
        self._check_groups()
        return super()._setup_learn(*args, **kwargs)

    def _check_groups(self) -> None:
        group_size = self.task.completions_per_prompt
        if self.baseline in GROUP_BASELINES and group_size < 2:
            raise ValueError(
                f"{type(self).__name__} with the baseline {self.baseline!r} compares the completions of one prompt, so "
                f"completions_per_prompt must be at least 2, got {group_size}; give the environment "
                "completions_per_prompt=4 or more."
            )
