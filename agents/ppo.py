"""Proximal policy optimisation on whole text episodes."""

from typing import Unpack

from stable_baselines3 import PPO as PlainPPO
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from .on_policy import SequenceOnPolicyAlgorithm, SequenceOptions
from .policy import GPT2Policy


class PPO(SequenceOnPolicyAlgorithm, PlainPPO):
    """Stable-Baselines3's PPO with cached rollouts of whole episodes; its `train` runs unchanged.

    Arguments that Stable-Baselines3 has too mean what they mean there; the defaults are a language model's.

    Args:
        policy: `"GPT2Policy"`, `"GPT2CompletionPolicy"` where an action is a whole completion, or a subclass of one.
        env: A TextGym id, Env, VectorEnv or VecEnv; None to load and predict only.
        learning_rate: A number, or a function of the remaining progress.
        n_steps: Tokens a row and rollout; None for 4,096 tokens a rollout. A rollout is whole episodes, so that its
            tokens come out about `n_steps × n_envs`.
        batch_size: Tokens a minibatch, nearly; a minibatch is whole episodes.
        n_epochs: Passes over each rollout.
        gamma: Discount. At 1 a token's position in the completion does not change what it is worth.
        gae_lambda: See `generalized_advantages`.
        clip_range: Bound on the change of a token's probability ratio.
        clip_range_vf: Bound on the change of a value; None for no bound.
        normalize_advantage: Scale a minibatch's advantages to mean 0 and standard deviation 1.
        ent_coef: Price of entropy, which is rewarded where it is above 0.
        vf_coef: Weight of the value loss.
        max_grad_norm: Bound on the gradient's norm.
        target_kl: Stop an update's epochs at this approximate KL from the policy that made the rollout.
        **options: See `SequenceOptions`.

    Reference:
        Schulman et al. (2017), arXiv:1707.06347.
    """

    def __init__(
        self,
        policy: str | type[GPT2Policy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 1e-5,
        n_steps: int | None = None,
        batch_size: int = 512,
        n_epochs: int = 4,
        gamma: float = 1.0,
        gae_lambda: float = 0.95,
        clip_range: float | Schedule = 0.2,
        clip_range_vf: float | Schedule | None = None,
        normalize_advantage: bool = True,
        ent_coef: float = 0.0,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        target_kl: float | None = None,
        **options: Unpack[SequenceOptions],
    ) -> None:
        if batch_size < 2:
            raise ValueError(f"batch_size must be at least 2 tokens, got {batch_size}.")
        super().__init__(
            policy,
            env,
            n_steps=n_steps,
            learning_rate=learning_rate,
            # Ours counts tokens and is set below; Stable-Baselines3 would warn that it does not divide its own n_steps.
            batch_size=2,
            n_epochs=n_epochs,
            gamma=gamma,
            gae_lambda=gae_lambda,
            clip_range=clip_range,
            clip_range_vf=clip_range_vf,
            normalize_advantage=normalize_advantage,
            ent_coef=ent_coef,
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,
            target_kl=target_kl,
            **options,
        )
        self.batch_size = batch_size
