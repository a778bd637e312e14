"""Group relative policy optimisation on whole text episodes."""

from typing import Unpack

from stable_baselines3.common.type_aliases import GymEnv, Schedule

from .critic_free import CriticFreeAlgorithm
from .on_policy import SequenceOptions
from .policy import GPT2Policy
from .ppo import PPO


class GRPO(CriticFreeAlgorithm, PPO):
    """PPO whose critic is the group: a completion is compared with others of the same prompt.

    Stable-Baselines3's PPO runs its `train` with `group_normalized_advantages`. So two things are otherwise than in the
    paper. KL to the reference is a reward rather than a term of the loss; where all completions of a group score alike,
    its small differences are scaled up, so `kl_coef` should be small. And the loss is the mean over the tokens of a
    minibatch, rather than over each completion's first, so that long completions do not count less.

    Args:
        policy: `"GPT2Policy"`, or a subclass of it.
        env: A TextGym id, Env, VectorEnv or VecEnv with `completions_per_prompt` of at least 2; None to load and
            predict only.
        learning_rate: A number, or a function of the progress that remains when a rollout begins, from 1 to 0.
        n_steps: Tokens a row and rollout; None for 4,096 tokens a rollout. A rollout is whole groups, so that its
            tokens come out about `n_steps × n_envs`: as many episodes as that is at the last rollout's mean length.
        batch_size: Tokens a minibatch, nearly; a minibatch is whole episodes, not whole groups.
        n_epochs: Passes over each rollout.
        clip_range: Bound on the change of a token's probability ratio.
        ent_coef: Price of entropy, which is rewarded where it is above 0.
        max_grad_norm: Bound on the gradient's norm.
        target_kl: Stop an update's epochs where the approximate KL from the policy that made the rollout is above 1.5
            times this, as in Stable-Baselines3.
        **options: See `SequenceOptions`; neither `potential_shaping` nor `self_imitation` has a place here.

    Reference:
        Shao et al. (2024), arXiv:2402.03300, section 4.1.
    """

    def __init__(
        self,
        policy: str | type[GPT2Policy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 1e-5,
        n_steps: int | None = None,
        batch_size: int = 512,
        n_epochs: int = 4,
        clip_range: float | Schedule = 0.2,
        ent_coef: float = 0.0,
        max_grad_norm: float = 0.5,
        target_kl: float | None = None,
        **options: Unpack[SequenceOptions],
    ) -> None:
        if "normalize_advantage" in options:
            raise ValueError(
                "normalize_advantage must be left out with GRPO, whose advantages are in units of their group's "
                "standard deviation."
            )
        super().__init__(
            policy,
            env,
            baseline="group_normalized",
            n_steps=n_steps,
            learning_rate=learning_rate,
            batch_size=batch_size,
            n_epochs=n_epochs,
            clip_range=clip_range,
            ent_coef=ent_coef,
            max_grad_norm=max_grad_norm,
            target_kl=target_kl,
            normalize_advantage=False,
            **options,
        )
