"""The constructor that PPO and its relatives share."""

from typing import Unpack

from stable_baselines3.common.type_aliases import GymEnv, Schedule

from .number_checks import check_numbers
from .on_policy import SequenceOnPolicyAlgorithm, SequenceOptions
from .policy import GPT2Policy


class ClippedOptions(SequenceOptions, total=False):
    """Keyword arguments of `textgym.agents.PPO`, where they are explained, for algorithms that pass them on."""

    learning_rate: float | Schedule
    n_steps: int | None
    batch_size: int
    n_epochs: int
    gamma: float
    gae_lambda: float
    clip_range: float | Schedule
    clip_range_vf: float | Schedule | None
    normalize_advantage: bool
    ent_coef: float
    vf_coef: float
    max_grad_norm: float
    target_kl: float | None


class ClippedAlgorithm(SequenceOnPolicyAlgorithm):
    """An algorithm with PPO's clipped loss; a mixin before Stable-Baselines3's class.

    `textgym.agents.PPO` explains the arguments.
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
        check_numbers({"batch_size": batch_size})
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

    @property
    def _tokens_per_minibatch(self) -> int:
        return self.batch_size
