"""Rollouts of whole episodes for Stable-Baselines3's on-policy algorithms."""

from collections.abc import Sequence
from typing import Any, ClassVar, TypedDict, get_args

import numpy as np
import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from .completion_buffer import CompletionBuffer
from .completion_policy import GPT2CompletionPolicy
from .episode_buffer import EpisodeBuffer
from .flat_episodes import EpisodeRecord
from .generation import GeneratedEpisode
from .judging import JudgedEpisode, to_record
from .kl import KLController, KLEstimator, estimate_kl
from .number_checks import check_numbers
from .policy import GPT2Policy
from .reference import ReferenceSource
from .scoring import frozen_hidden_of, score_ahead, score_tokens
from .self_imitation import EpisodeArchive, discounted_sums
from .sequence_algorithm import SequenceAlgorithm

TOKENS_PER_ROLLOUT = 4096


class SequenceOptions(TypedDict, total=False):
    """Keyword arguments that every on-policy algorithm on the sequence path takes.

    Attributes:
        reference: What KL is measured against: `"initial"` (the default) for the policy before training, a model, a
            folder, a hub name, or None for no reference.
        kl_coef: Reward lost for each nat of KL to the reference, 0.02 by default; or a function of the remaining
            progress, as for `learning_rate`: of what remains when the rollout begins that is learned from.
        kl_target: Nats a completion towards which `kl_coef` is adapted, which must not be 0 then; None, the default,
            keeps it fixed.
        kl_horizon: See `KLController`; 1,000 by default.
        kl_estimator: How `rollout/kl` is estimated, which `kl_target` goes by, see `estimate_kl`; `"k1"` by default.
            What each token is charged is always k1, the only one whose gradient, as a reward's, is that of KL: of
            the others a reward's gradient leaves out how they change with the policy themselves (Tang and Munos
            2025, arXiv:2506.09477).
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
    kl_coef: float | Schedule
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


class SequenceOnPolicyAlgorithm(SequenceAlgorithm, OnPolicyAlgorithm):
    """What every on-policy algorithm on the sequence path shares; a mixin before Stable-Baselines3's class.

    A rollout has about `n_steps × n_envs` tokens.
    """

    rollout_buffer: EpisodeBuffer
    policy: GPT2Policy
    # Tokens before the present rollout.
    rollout_began_at = 0
    # Where `n_steps` was left to us: what it came to be.
    default_n_steps: int | None = None
    defaults_found: ClassVar[dict[str, str]] = {"n_steps": "default_n_steps"}
    settings_of_parts: ClassVar[dict[str, tuple[str, str]]] = {
        "kl_coef": ("kl_controller", "coefficient"),
        "kl_target": ("kl_controller", "target"),
        "kl_horizon": ("kl_controller", "horizon"),
    }
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "GPT2Policy": GPT2Policy,
        "GPT2CompletionPolicy": GPT2CompletionPolicy,
    }

    def __init__(
        self,
        policy: str | type[GPT2Policy],
        env: GymEnv | str | None,
        *,
        n_steps: int | None = None,
        reference: ReferenceSource = "initial",
        kl_coef: float | Schedule = 0.02,
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
        if kl_estimator not in get_args(KLEstimator):
            raise ValueError(f"kl_estimator must be one of {get_args(KLEstimator)}, got {kl_estimator!r}.")
        check_numbers(
            {
                "n_steps": n_steps,
                "kl_coef": kl_coef,
                "kl_target": kl_target,
                "kl_horizon": kl_horizon,
                "self_imitation": self_imitation,
            }
        )
        self.kl_controller = KLController(kl_coef, kl_target, kl_horizon)
        self.kl_controller.check(has_reference=reference is not None)
        self.kl_estimator = kl_estimator
        self.self_imitation = self_imitation
        self.archive = EpisodeArchive()
        super().__init__(
            policy,
            env,
            reference=reference,
            decode_rows=decode_rows,
            potential_shaping=potential_shaping,
            # It warns of minibatches that do not divide n_steps × n_envs; ours need not, so `n_steps` is set below.
            n_steps=2,
            **plain,
        )
        self.n_steps = self._steps_per_row(n_steps)
        if _init_setup_model:
            self._set_up()

    def _steps_per_row(self, n_steps: int | None) -> int:
        """Return the tokens a row and rollout, by default so many that all rows have 4,096."""
        if n_steps is not None and n_steps != self.default_n_steps:
            return n_steps
        # Without an environment, that of the one it was saved with.
        self.default_n_steps = max(1, TOKENS_PER_ROLLOUT // vars(self).get("n_envs", 1))
        return self.default_n_steps

    @property
    def network(self) -> GPT2Policy:
        """The policy."""
        return self.policy

    @property
    def kl_price(self) -> float:
        """Reward lost at present for each nat of KL to the reference."""
        return self.kl_controller.price(self._current_progress_remaining)

    @property
    def _tokens_per_minibatch(self) -> int | None:
        """Tokens a minibatch of an update, nearly; None where it is the whole rollout."""
        return None

    @property
    def _learns_at_once(self) -> bool:
        # Which keeps what all episodes need, and repeats what their rollout has computed.
        keeps_all = not self.self_imitation and self.policy.micro_batch_size is None
        most = self._tokens_per_minibatch
        return keeps_all and (most is None or self.n_steps * self.n_envs <= most)

    def _reference_policy(self) -> GPT2Policy:
        return self.policy

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        # A saved algorithm can be loaded with another reference, price or target.
        self.kl_controller.check(has_reference=self.find_reference() is not None)
        return super()._setup_learn(*args, **kwargs)

    def _setup_model(self) -> None:
        # Also where an algorithm is loaded for another number of rows, or `load` is given None.
        self.n_steps = self._steps_per_row(self.n_steps)
        if self._acts_by_completion and self.env is not None:
            self.policy_kwargs = {**self.policy_kwargs, "eos_token_id": self.task.eos_token_id}
        super()._setup_model()

    def _choose_buffer(self, seed: int) -> None:
        self.rollout_buffer_class = CompletionBuffer if self._acts_by_completion else EpisodeBuffer
        self.rollout_buffer_kwargs = {"seed": seed}

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Generate, score and store one rollout.

        Returns:
            False if a callback asked to stop.
        """
        self.rollout_began_at = self.num_timesteps
        self._update_current_progress_remaining(self.num_timesteps, self._total_timesteps)
        self.policy.set_training_mode(False)
        callback.on_rollout_start()
        rollout_buffer.reset()
        goes_on = False
        try:
            judged = self._play(n_rollout_steps * env.num_envs)
            # First, because an EvalCallback writes out what the logger holds.
            if self._call_back(env, callback, judged):
                self._pay(judged)
                self._record_episodes(judged)
                self.rollout_buffer.estimate_returns()
                callback.update_locals(locals())
                callback.on_rollout_end()
                goes_on = True
        finally:
            if not goes_on:
                self._forget_rollout()
                rollout_buffer.reset()
        if goes_on and self.rollout_buffer.n_minibatches(self._tokens_per_minibatch) > 1:
            self.rollout_buffer.forget_batch()  # a minibatch is another one
        return goes_on

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        # Schedules go by where a rollout begins: at its end a short training is over, before anything is learned.
        super()._update_current_progress_remaining(min(num_timesteps, self.rollout_began_at), total_timesteps)

    def train(self) -> None:
        """Update the policy as Stable-Baselines3 does; see `FiniteUpdates`."""
        try:
            super().train()
        finally:
            self._forget_rollout()

    def _forget_rollout(self) -> None:
        """Drop what is of use to the update that comes next alone."""
        self.policy.memory.forget()
        self.rollout_buffer.forget_batch()

    def _prepare(self, episodes: list[GeneratedEpisode]) -> None:
        # What is replayed follows from the rewards.
        if not self.self_imitation:
            lengths = [len(episode.token_ids) for episode in episodes]
            unpaid = torch.zeros(sum(lengths)).split(lengths)
            self._store([to_record(episode, rewards) for episode, rewards in zip(episodes, unpaid, strict=True)])

    def _pay(self, judged: list[JudgedEpisode]) -> None:
        """Give a rollout its rewards, less the price of KL, with replayed episodes behind it."""
        if self.rollout_buffer.full:
            self.rollout_buffer.pay([item.rewards for item in judged])
        else:
            self._store_with_replayed(judged)
        self._charge_kl(len(judged), sum(len(item.rewards) for item in judged))

    def _store_with_replayed(self, judged: list[JudgedEpisode]) -> None:
        generator = np.random.default_rng((self.seed or 0, self._n_updates))
        # Not their mean: what a tenth of them reach, as by chance, needs no replay.
        gamma = 1.0 if self._acts_by_completion else self.gamma
        baseline = float(np.quantile([discounted_sums(item.rewards, gamma)[-1] for item in judged], 0.9))
        replayed = self.archive.sample(round(self.self_imitation * len(judged)), baseline, generator)
        self.archive.add(judged, gamma, as_a_whole=self._acts_by_completion)
        self._store([to_record(item.episode, item.rewards) for item in judged], replayed)

    def _store(self, records: list[EpisodeRecord], replayed: Sequence[EpisodeRecord] = ()) -> None:
        """Fill the buffer with a rollout and replayed episodes, and score these as far as it is needed.

        A GPU works on it while the reward judges.
        """
        buffer = self.rollout_buffer
        # Follows from what is saved, so that a resumed run shuffles as the run that was never stopped.
        buffer.n_shuffles = self._n_updates
        buffer.fill([*records, *replayed])
        if self.policy.n_shared_layers:
            buffer.keep_frozen_hidden(frozen_hidden_of(self.policy, buffer))
        if self.policy.is_scored_again:
            buffer.sampled_log_prob = buffer.old_log_prob
            # A subclass's networks may go otherwise while they learn.
            is_ours = type(self.policy) in self.policy_aliases.values()
            learns_at_once = self._learns_at_once and buffer.n_minibatches(self._tokens_per_minibatch) == 1
            score = score_ahead if is_ours and learns_at_once else score_tokens
            buffer.old_values, buffer.old_log_prob = score(self.policy, buffer)
        elif replayed:
            n_tokens = int(buffer.lengths[: len(records)].sum())
            buffer.old_values[n_tokens:], buffer.old_log_prob[n_tokens:] = score_tokens(
                self.policy, buffer, first_episode=len(records)
            )
        reference = self.find_reference()
        buffer.ref_log_prob = None if reference is None else reference.log_prob(buffer)

    def _is_bounded(self, greatest_norm: float) -> bool:
        return self.policy.is_bounded(greatest_norm)

    @torch.no_grad()
    def _outputs(self) -> dict[str, Tensor]:
        decision = self.rollout_buffer.first_decision()
        values, log_prob, _ = self.policy.evaluate_tokens(decision, decision["input_ids"][0, -1:])
        return {"the policy's values": values, "the policy's log_prob": log_prob}

    def _charge_kl(self, n_episodes: int, n_tokens: int) -> None:
        """Take the price of KL from the rewards, and log what a rollout's new episodes and tokens, that many, say."""
        buffer = self.rollout_buffer
        log_prob, ref_log_prob, sampled = buffer.old_log_prob, buffer.ref_log_prob, buffer.sampled_log_prob
        buffer.ref_log_prob = buffer.sampled_log_prob = None  # which nobody asks for again
        if sampled is not None:
            gap = (log_prob - sampled)[:n_tokens].abs().mean()
            self.logger.record("rollout/log_prob_gap", float(gap))
        if ref_log_prob is None:
            return
        price = self.kl_price
        buffer.rewards -= price * estimate_kl(log_prob, ref_log_prob)
        estimated = estimate_kl(log_prob[:n_tokens], ref_log_prob[:n_tokens], self.kl_estimator)
        kl_per_episode = float(estimated.sum()) / n_episodes
        self.logger.record("rollout/kl", kl_per_episode)
        self.logger.record("rollout/kl_coef", price)
        self.kl_controller.update(kl_per_episode, n_episodes)
