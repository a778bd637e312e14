"""Advantage actor-critic on whole text episodes."""

from typing import Self, Unpack

from stable_baselines3 import A2C as PlainA2C
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule

from .on_policy import SequenceOnPolicyAlgorithm, SequenceOptions
from .policy import GPT2Policy


class A2C(SequenceOnPolicyAlgorithm, PlainA2C):
    """Stable-Baselines3's A2C with cached rollouts of whole episodes; its `train` runs unchanged.

    Each rollout is one minibatch, for one step of the optimiser. Logits are computed a chunk at a time, and again in
    the backward pass, so that a large vocabulary does not fill the memory. What the trunk keeps, `micro_batch_size` and
    `gradient_checkpointing` of the policy bound: with micro-batches of 1,024 tokens, 8,192 tokens of a GPT-2 of 124
    million parameters take less than 8 GB.

    Arguments that Stable-Baselines3 has too mean what they mean there; the defaults are a language model's.

    Args:
        policy: `"GPT2Policy"`, `"GPT2CompletionPolicy"` where an action is a whole completion, or a subclass of one.
        env: A TextGym id, Env, VectorEnv or VecEnv; `load` needs none to predict.
        learning_rate: A number, or a function of the progress that remains when a rollout begins, from 1 to 0.
        n_steps: Tokens a row and rollout; None for 4,096 tokens a rollout. A rollout is whole episodes, so that its
            tokens come out about `n_steps × n_envs`: as many episodes as that is at the last rollout's mean length.
        gamma: Discount. At 1 a token's position in the completion does not change what it is worth.
        gae_lambda: See `generalized_advantages`.
        ent_coef: Price of entropy, which is rewarded where it is above 0.
        vf_coef: Weight of the value loss.
        max_grad_norm: Bound on the gradient's norm.
        rms_prop_eps: Added to the denominator of RMSprop.
        use_rms_prop: Use RMSprop rather than Adam, as Mnih et al. do, unless `policy_kwargs` names an optimiser.
        normalize_advantage: Scale a rollout's advantages to mean 0 and standard deviation 1.
        **options: See `SequenceOptions`.

    Reference:
        Mnih et al. (2016), arXiv:1602.01783.
    """

    def __init__(
        self,
        policy: str | type[GPT2Policy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 1e-5,
        n_steps: int | None = None,
        gamma: float = 1.0,
        gae_lambda: float = 0.95,
        ent_coef: float = 0.0,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        rms_prop_eps: float = 1e-5,
        use_rms_prop: bool = False,
        normalize_advantage: bool = False,
        **options: Unpack[SequenceOptions],
    ) -> None:
        super().__init__(
            policy,
            env,
            n_steps=n_steps,
            learning_rate=learning_rate,
            gamma=gamma,
            gae_lambda=gae_lambda,
            ent_coef=ent_coef,
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,
            rms_prop_eps=rms_prop_eps,
            use_rms_prop=use_rms_prop,
            normalize_advantage=normalize_advantage,
            **options,
        )

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "A2C",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Learn, as in Stable-Baselines3, but log every rollout, which is thousands of tokens here and not five."""
        return super().learn(total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar)
