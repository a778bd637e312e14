"""REINFORCE on whole text episodes, with its baselines, and RLOO, which is one of them."""

from typing import Unpack

from stable_baselines3.common.type_aliases import GymEnv, Schedule

from .a2c import A2C
from .critic_free import Baseline, CriticFreeAlgorithm
from .on_policy import SequenceOptions
from .policy import GPT2Policy


class REINFORCE(CriticFreeAlgorithm, A2C):
    """A2C without a critic; Stable-Baselines3's `train` learns from a completion's return, less a baseline.

    A completion is one decision: each of its tokens has its advantage, and rewards are not discounted. So neither
    `potential_shaping` nor `self_imitation` has a place here.

    Args:
        policy: `"GPT2Policy"`, `"GPT2CompletionPolicy"` where an action is a whole completion, or a subclass of one.
        env: A TextGym id, Env, VectorEnv or VecEnv; `load` needs none to predict.
        learning_rate: A number, or a function of the progress that remains when a rollout begins, from 1 to 0.
        n_steps: Tokens a row and rollout; None for 4,096 tokens a rollout. A rollout is whole episodes, so that its
            tokens come out about `n_steps × n_envs`: as many episodes as that is at the last rollout's mean length.
            Each rollout is one step of the optimiser.
        baseline: What a completion's return is compared with: `"none"`, `"moving_average"` (`MovingAverage`),
            `"leave_one_out"` (`leave_one_out_advantages`) or `"group_normalized"` (`group_normalized_advantages`). The
            last two need an environment with `completions_per_prompt` of at least 2.
        ent_coef: Price of entropy, which is rewarded where it is above 0.
        max_grad_norm: Bound on the gradient's norm.
        rms_prop_eps: See `A2C`.
        use_rms_prop: Likewise.
        normalize_advantage: Scale a rollout's advantages to mean 0 and standard deviation 1.
        **options: See `SequenceOptions`.

    Reference:
        Williams (1992), Machine Learning 8, 229-256.
    """

    def __init__(
        self,
        policy: str | type[GPT2Policy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 1e-5,
        n_steps: int | None = None,
        baseline: Baseline = "moving_average",
        ent_coef: float = 0.0,
        max_grad_norm: float = 0.5,
        rms_prop_eps: float = 1e-5,
        use_rms_prop: bool = False,
        normalize_advantage: bool = False,
        **options: Unpack[SequenceOptions],
    ) -> None:
        super().__init__(
            policy,
            env,
            baseline=baseline,
            n_steps=n_steps,
            learning_rate=learning_rate,
            ent_coef=ent_coef,
            max_grad_norm=max_grad_norm,
            rms_prop_eps=rms_prop_eps,
            use_rms_prop=use_rms_prop,
            normalize_advantage=normalize_advantage,
            **options,
        )


class RLOO(REINFORCE):
    """REINFORCE with the leave-one-out baseline.

    Args:
        policy: See `REINFORCE`.
        env: Likewise, with `completions_per_prompt` of at least 2.
        learning_rate: Likewise.
        n_steps: Likewise.
        ent_coef: Likewise.
        max_grad_norm: Likewise.
        **options: See `SequenceOptions`.

    Reference:
        Kool et al. (2019), https://openreview.net/forum?id=r1lgTGL5DE; Ahmadian et al. (2024), arXiv:2402.14740.
    """

    def __init__(
        self,
        policy: str | type[GPT2Policy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 1e-5,
        n_steps: int | None = None,
        ent_coef: float = 0.0,
        max_grad_norm: float = 0.5,
        **options: Unpack[SequenceOptions],
    ) -> None:
        super().__init__(
            policy,
            env,
            learning_rate,
            n_steps,
            "leave_one_out",
            ent_coef,
            max_grad_norm,
            **options,
        )
