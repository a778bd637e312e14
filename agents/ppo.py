"""Proximal policy optimisation on whole text episodes."""

from typing import Any, ClassVar

import gymnasium as gym
import torch
from stable_baselines3 import PPO as PlainPPO
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from .kl import KLEstimator
from .on_policy import SequenceOnPolicyAlgorithm
from .policy import GPT2Policy
from .reference import ReferenceSource


class PPO(SequenceOnPolicyAlgorithm, PlainPPO):
    """Stable-Baselines3's PPO with cached rollouts of whole episodes; its `train` runs unchanged.

    Arguments that Stable-Baselines3 has too mean what they mean there; the defaults are a language model's.

    Args:
        policy: `"GPT2Policy"`, or a subclass of it.
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
        reference: What KL is measured against: `"initial"` for the policy before training, a model, a folder, a hub
            name, or None for no reference.
        kl_coef: Reward lost for each nat of KL to the reference.
        kl_target: Nats a completion towards which `kl_coef` is adapted; None keeps it fixed.
        kl_horizon: See `KLController`.
        kl_estimator: See `estimate_kl`.
        decode_rows: Episodes that are generated side by side; does not change what is generated.
        potential_shaping: Pay the score at the tokens that earn it, see `judge_episodes`.
        self_imitation: Best episodes so far that each update replays, as a share of the rollout's; see
            `EpisodeArchive`.
        stats_window_size: As in Stable-Baselines3; `rollout/ep_*` are means over the last rollout.
        tensorboard_log: Folder for TensorBoard events.
        policy_kwargs: Arguments of the policy, such as `model` and `temperature`.
        verbose: 0 silent, 1 information, 2 debugging.
        seed: Decides prompts, tokens and the order of minibatches; None draws one.
        device: `"auto"`, `"cpu"` or `"cuda"`.

    Reference:
        Schulman et al. (2017), arXiv:1707.06347.
    """

    policy_aliases: ClassVar[dict[str, type[GPT2Policy]]] = {"GPT2Policy": GPT2Policy}  # type: ignore[assignment]

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
        *,
        reference: ReferenceSource = "initial",
        kl_coef: float = 0.02,
        kl_target: float | None = None,
        kl_horizon: int = 1_000,
        kl_estimator: KLEstimator = "k1",
        decode_rows: int = 128,
        potential_shaping: bool = False,
        self_imitation: float = 0.0,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        if batch_size < 2:
            raise ValueError(f"batch_size must be at least 2 tokens, got {batch_size}.")
        self._set_sequence_options(
            reference, kl_coef, kl_target, kl_horizon, kl_estimator, decode_rows, potential_shaping, self_imitation
        )
        super().__init__(
            policy,
            # Stable-Baselines3 would make an id with render_mode="rgb_array".
            gym.make(env) if isinstance(env, str) else env,  # type: ignore[arg-type]
            learning_rate=learning_rate,
            # Stable-Baselines3 warns of minibatches that do not divide n_steps × n_envs; ours need not, so these two
            # are set below.
            n_steps=2,
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
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=False,
        )
        self.batch_size = batch_size
        self.n_steps = self._steps_per_row(n_steps)
        if _init_setup_model:
            self._setup_model()
