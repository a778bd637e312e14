"""Rollouts of whole episodes for Stable-Baselines3's on-policy algorithms."""

import math
import secrets
from collections import deque
from typing import Any, TypedDict, get_args

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import safe_mean
from stable_baselines3.common.vec_env import VecEnv

from textgym.task import TextTask, episode_info

from .environments import as_text_environment, episode_statistics, find_text_environment, write_episode
from .episode_buffer import EpisodeBuffer, EpisodeRecord
from .generation import generate_episodes
from .judging import JudgedEpisode, judge_episodes
from .kl import KLController, KLEstimator, estimate_kl
from .policy import GPT2Policy
from .reference import ReferenceSource, ReferenceStore
from .scoring import score_tokens
from .self_imitation import EpisodeArchive
from .token_rules import token_rules

TOKENS_PER_ROLLOUT = 4096


class SequenceOptions(TypedDict, total=False):
    """Keyword arguments that every on-policy algorithm on the sequence path takes.

    Attributes:
        reference: What KL is measured against: `"initial"` (the default) for the policy before training, a model, a
            folder, a hub name, or None for no reference.
        kl_coef: Reward lost for each nat of KL to the reference, 0.02 by default.
        kl_target: Nats a completion towards which `kl_coef` is adapted; None, the default, keeps it fixed.
        kl_horizon: See `KLController`; 1,000 by default.
        kl_estimator: See `estimate_kl`; `"k1"` by default.
        decode_rows: Episodes that are generated side by side, 128 by default; does not change what is generated.
        potential_shaping: Pay the score at the tokens that earn it, see `judge_episodes`; by default not.
        self_imitation: Best episodes so far that each update replays, as a share of the rollout's, 0 by default; see
            `EpisodeArchive`.
        stats_window_size: As in Stable-Baselines3; `rollout/ep_*` are means over the last rollout.
        tensorboard_log: Folder for TensorBoard events.
        policy_kwargs: Arguments of the policy, such as `model` and `temperature`.
        verbose: 0 (the default) silent, 1 information, 2 debugging.
        seed: Decides prompts, tokens and the order of minibatches; None, the default, draws one.
        device: `"auto"` (the default), `"cpu"` or `"cuda"`.
    """

    reference: ReferenceSource
    kl_coef: float
    kl_target: float | None
    kl_horizon: int
    kl_estimator: KLEstimator
    decode_rows: int
    potential_shaping: bool
    self_imitation: float
    stats_window_size: int
    tensorboard_log: str | None
    policy_kwargs: dict[str, Any] | None
    verbose: int
    seed: int | None
    device: torch.device | str
    _init_setup_model: bool


class SequenceOnPolicyAlgorithm(OnPolicyAlgorithm):
    """What every on-policy algorithm on the sequence path shares; a mixin before Stable-Baselines3's class.

    A rollout is a fixed number of whole episodes: as many as hold about `n_steps × n_envs` tokens at the mean length
    of the rollout before. Since that number is known before any of them is started, neither short nor long ones are
    preferred.
    """

    rollout_buffer: EpisodeBuffer
    policy: GPT2Policy

    def __init__(
        self,
        policy: str | type[GPT2Policy],
        env: GymEnv | str | None,
        *,
        n_steps: int | None = None,
        reference: ReferenceSource = "initial",
        kl_coef: float = 0.02,
        kl_target: float | None = None,
        kl_horizon: int = 1_000,
        kl_estimator: KLEstimator = "k1",
        decode_rows: int = 128,
        potential_shaping: bool = False,
        self_imitation: float = 0.0,
        _init_setup_model: bool = True,
        **plain: Any,
    ) -> None:
        """Keep what Stable-Baselines3's constructor does not know, and give it the rest, `plain`."""
        if decode_rows < 1:
            raise ValueError(f"decode_rows must be at least 1, got {decode_rows}.")
        if kl_estimator not in get_args(KLEstimator):
            raise ValueError(f"kl_estimator must be one of {get_args(KLEstimator)}, got {kl_estimator!r}.")
        if not 0 <= self_imitation <= 1:
            raise ValueError(f"self_imitation must be between 0 and 1, got {self_imitation}.")
        self.reference_store = ReferenceStore(reference)
        self.kl_controller = KLController(kl_coef, kl_target, kl_horizon)
        self.kl_estimator = kl_estimator
        self.decode_rows = decode_rows
        self.potential_shaping = potential_shaping
        self.self_imitation = self_imitation
        self.archive = EpisodeArchive()
        self.expected_length: float | None = None
        # Stable-Baselines3's own count begins anew with each call of `learn`; random numbers must not.
        self.n_episodes_started = 0
        super().__init__(
            policy,
            # Stable-Baselines3 would make an id with render_mode="rgb_array".
            gym.make(env) if isinstance(env, str) else env,  # type: ignore[arg-type]
            # It warns of minibatches that do not divide n_steps × n_envs; ours need not, so `n_steps` is set below.
            n_steps=2,
            _init_setup_model=False,
            **plain,
        )
        self.n_steps = self._steps_per_row(n_steps)
        if _init_setup_model:
            self._setup_model()

    def _steps_per_row(self, n_steps: int | None) -> int:
        """Return the tokens a row and rollout, by default so many that a rollout has 4,096 tokens."""
        n_envs = 1 if self.env is None else self.env.num_envs
        n_steps = max(1, TOKENS_PER_ROLLOUT // n_envs) if n_steps is None else n_steps
        if n_steps < 1:
            raise ValueError(f"n_steps must be at least 1, got {n_steps}.")
        return n_steps

    @staticmethod
    def _wrap_env(env: Any, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        return as_text_environment(env)

    @property
    def task(self) -> TextTask:
        """The task of the environment.

        Raises:
            ValueError: If there is no environment.
        """
        if self.env is None:
            raise ValueError("There is no environment; give one to `load(…, env=…)` or `set_env`.")
        return find_text_environment(self.env).task

    def _setup_model(self) -> None:
        self.rollout_buffer_class = EpisodeBuffer
        if self.seed is None:
            self.seed = secrets.randbelow(1 << 31)
        self.rollout_buffer_kwargs = {"seed": self.seed}
        # A copy, since the caller may make the next algorithm from the same arguments.
        self.policy_kwargs = dict(self.policy_kwargs)
        if self.env is not None:
            # Also where an algorithm is loaded for another task than it was saved with.
            self.policy_kwargs["token_rules"] = token_rules(self.task)
        model_source = self.policy_kwargs.get("model")
        super()._setup_model()
        # The saved algorithm needs the network's shape; its weights are saved apart.
        self.policy_kwargs["model"] = self.policy.language_model.config
        self.reference_store.set_up(self.policy, model_source)

    def _excluded_save_params(self) -> list[str]:
        # The reference is as large as the policy; its name and hash are saved with its store.
        return [*super()._excluded_save_params(), "reference"]

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        *,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Choose the next token of one context or of several; see `GPT2Policy.predict`."""
        return self.policy.predict(observation, state, episode_start, deterministic, top_k=top_k, top_p=top_p)

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Generate, score and store one rollout.

        Returns:
            False if a callback asked to stop.
        """
        self.policy.set_training_mode(False)
        callback.on_rollout_start()
        judged = self._play(n_rollout_steps * env.num_envs)
        # First, because an EvalCallback writes out what the logger holds.
        if not self._call_back(env, callback, judged):
            return False
        n_tokens = self._store(judged)
        self._charge_kl(len(judged), n_tokens)
        self._record_rollout(judged, n_tokens)
        self.rollout_buffer.estimate_returns()
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _play(self, n_tokens: int) -> list[JudgedEpisode]:
        """Generate and judge so many whole episodes as should have about `n_tokens`."""
        task = self.task
        group = task.completions_per_prompt
        n_episodes = max(2, math.ceil(n_tokens / (self.expected_length or task.max_new_tokens)))
        n_episodes = math.ceil(n_episodes / group) * group
        numbers = range(self.n_episodes_started, self.n_episodes_started + n_episodes)
        generated = generate_episodes(self.policy, task, numbers, seed=self.seed or 0, num_rows=self.decode_rows)
        judged = list(judge_episodes(task, generated, self.potential_shaping))
        self.n_episodes_started += n_episodes
        self.expected_length = sum(len(item.rewards) for item in judged) / n_episodes
        return judged

    def _store(self, judged: list[JudgedEpisode]) -> int:
        """Fill the buffer, with replayed episodes behind the new ones, and return the number of new tokens."""
        buffer = self.rollout_buffer
        records = [to_record(item) for item in judged]
        replayed: list[EpisodeRecord] = []
        if self.self_imitation:
            generator = np.random.default_rng((self.seed or 0, self._n_updates))
            baseline = safe_mean([float(item.rewards.sum()) for item in judged])
            replayed = self.archive.sample(round(self.self_imitation * len(judged)), baseline, generator)
            self.archive.add(judged)
        buffer.reset()
        # Follows from what is saved, so that a resumed run shuffles as the run that was never stopped.
        buffer.n_shuffles = self._n_updates
        buffer.fill(records + replayed)
        n_tokens = int(buffer.lengths[: len(records)].sum())
        if replayed:
            buffer.old_values[n_tokens:], buffer.old_log_prob[n_tokens:] = score_tokens(
                self.policy, buffer, first_episode=len(records)
            )
        return n_tokens

    def _charge_kl(self, n_episodes: int, n_tokens: int) -> None:
        reference = self.reference_store.find(self.policy, self.__dict__.get("reference"))
        if reference is None:
            return
        ref_log_prob = reference.log_prob(self.rollout_buffer)
        log_prob = self.rollout_buffer.old_log_prob
        kl = estimate_kl(log_prob, ref_log_prob, self.kl_estimator)
        self.rollout_buffer.rewards -= self.kl_controller.coefficient * kl
        kl_per_episode = float((log_prob - ref_log_prob)[:n_tokens].sum()) / n_episodes
        self.logger.record("rollout/kl", kl_per_episode)
        self.logger.record("rollout/kl_coef", self.kl_controller.coefficient)
        self.kl_controller.update(kl_per_episode, n_episodes)

    def _record_rollout(self, judged: list[JudgedEpisode], n_tokens: int) -> None:
        scores = [item.judgement.score for item in judged]
        self.logger.record("rollout/score", safe_mean(scores))
        for name in judged[0].judgement.terms:
            values = [item.judgement.terms[name] for item in judged]
            self.logger.record(f"rollout/reward/{name}", safe_mean([value for value in values if value is not None]))
        self.logger.record("rollout/n_tokens", n_tokens / len(judged))
        ended = [item.episode.text.finish_reason != "length" for item in judged]
        self.logger.record("rollout/ended_share", sum(ended) / len(ended))
        self.logger.record("rollout/entropy", -float(self.rollout_buffer.old_log_prob[:n_tokens].mean()))

    def _call_back(self, env: VecEnv, callback: BaseCallback, judged: list[JudgedEpisode]) -> bool:
        """Call `on_step` once for every `n_envs` tokens, with the locals that Stable-Baselines3's callbacks read."""
        row_logs = find_text_environment(env).row_logs
        ends: dict[int, dict[str, Any]] = {}
        position = -1
        for number, item in enumerate(judged):
            position += len(item.rewards)
            ends[position] = episode_info(item.episode.text, item.judgement)
            ends[position]["episode"] = episode_statistics(item.rewards.tolist(), self.start_time / 1e9)
            write_episode(row_logs[number % len(row_logs)], ends[position])
        # `rollout/ep_*` then stand for this rollout rather than for the last 100 episodes.
        self.ep_info_buffer = deque(info["episode"] for info in ends.values())
        token_rewards = torch.cat([item.rewards for item in judged]).numpy()
        for start in range(0, len(token_rewards), env.num_envs):
            rewards = token_rewards[start : start + env.num_envs]
            dones = np.array([start + index in ends for index in range(len(rewards))])
            infos = [ends.get(start + index, {}) for index in range(len(rewards))]
            self.num_timesteps += len(rewards)
            callback.update_locals(locals())
            if not callback.on_step():
                return False
        return True


def to_record(item: JudgedEpisode) -> EpisodeRecord:
    """Return what the learner keeps of an episode."""
    episode = item.episode
    return EpisodeRecord(
        episode.text.prompt.token_ids, episode.text.token_ids, item.rewards, episode.values, episode.log_prob
    )
