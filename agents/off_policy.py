"""Whole episodes between updates, and a replay of them, for Stable-Baselines3's off-policy algorithms."""

import warnings
from typing import Any, TypedDict, cast

import numpy as np
import torch
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.type_aliases import GymEnv, RolloutReturn, Schedule, TrainFreq
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from .episode_replay import EpisodeReplay
from .exploration import Exploration, ExplorationKind
from .frozen_layers import share_frozen_parameters
from .judging import JudgedEpisode, to_record
from .number_checks import check_numbers
from .policy import GPT2Policy
from .q_network import GPT2QNetwork
from .q_policy import GPT2QPolicy
from .quantile_policy import GPT2QuantilePolicy
from .reference import ReferenceSource
from .replay_persistence import CheckedReplay
from .scoring import probable_tokens
from .sequence_algorithm import SequenceAlgorithm

NOT_OF_VALUES = {
    "critic": "what a token is worth, the policy itself says",
    "micro_batch_size": "a minibatch is one forward pass; lower batch_size, or set gradient_checkpointing",
    "temperature": "the best token is taken, and explored as the reference would",
}


class ValueOptions(TypedDict, total=False):
    """Keyword arguments that every value-based algorithm on the sequence path takes.

    Arguments that Stable-Baselines3 has too mean what they mean there; the defaults are a language model's.

    Attributes:
        learning_rate: A number, or a function of the remaining progress; 1e-4 by default.
        buffer_size: Generated tokens that the replay keeps, 200,000 by default.
        learning_starts: Tokens before the first update, 2,048 by default, in which every token is explored.
        batch_size: Tokens a minibatch, 256 by default, of whole episodes.
        tau: How far the target network moves at an update of it; all the way (1) by default.
        gamma: Discount; 1 by default, so that a token's position in the completion does not change what it is worth.
        train_freq: Tokens between two times of learning, 1,024 by default. Whole episodes are generated, so that they
            come out about as many.
        gradient_steps: Minibatches learned from each time, 8 by default; -1 for one a token.
        n_steps: Rewards summed before the target network's value counts; 1 by default. Above 1 a reward at the end
            reaches the tokens before it sooner, though what was explored on the way is taken for the best.
        target_update_interval: Tokens between two updates of the target network, 2,048 by default.
        exploration_fraction: Share of training in which ε falls, 0.5 by default.
        exploration_initial_eps: Its first value, 1 by default.
        exploration_final_eps: Its last value, 0.02 by default.
        max_grad_norm: Bound on the gradient's norm, 1 by default.
        reference: The model explored with: `"initial"` (the default) for the policy before training, a model, a folder,
            a hub name, or None for no reference.
        exploration: `"reference"` (the default) or `"uniform"`, see `Exploration`.
        candidates: Consider only so many tokens, the reference's most probable ones, in acting and in learning; None,
            the default, for all.
        decode_rows: Episodes that are generated side by side, 128 by default; does not change what is generated.
        potential_shaping: Pay the score at the tokens that earn it, see `judge_episodes`; by default not.
        stats_window_size: As in Stable-Baselines3; `rollout/ep_*` are means over the last rollout.
        tensorboard_log: Folder for TensorBoard events.
        policy_kwargs: Arguments of the policy, such as `model`, `advantage_scale` and `lora`.
        verbose: 0 (the default) silent, 1 information, 2 debugging.
        seed: Decides prompts, tokens and minibatches; None, the default, draws one.
        device: `"auto"` (the default), `"cpu"` or `"cuda"`.
    """

    learning_rate: float | Schedule
    buffer_size: int
    learning_starts: int
    batch_size: int
    tau: float
    gamma: float
    train_freq: int
    gradient_steps: int
    n_steps: int
    target_update_interval: int
    exploration_fraction: float
    exploration_initial_eps: float
    exploration_final_eps: float
    max_grad_norm: float
    reference: ReferenceSource
    exploration: ExplorationKind
    candidates: int | None
    decode_rows: int
    potential_shaping: bool
    stats_window_size: int
    tensorboard_log: str | None
    policy_kwargs: dict[str, Any] | None
    verbose: int
    seed: int | None
    device: torch.device | str
    _init_setup_model: bool


class SequenceOffPolicyAlgorithm(SequenceAlgorithm, CheckedReplay):
    """What every value-based algorithm on the sequence path shares; a mixin before Stable-Baselines3's class.

    Between two times of learning, whole episodes are generated side by side. Each token is the best one by the
    Q-network, or with probability ε explored. What is generated is a function of seed, number of the episode, weights
    and ε alone; ε is scheduled by tokens, and stays the same within a rollout.
    """

    policy: GPT2QPolicy | GPT2QuantilePolicy
    replay_buffer: EpisodeReplay | None
    # These two are of Stable-Baselines3's DQN and sb3-contrib's QRDQN.
    exploration_schedule: Schedule
    exploration_rate: float

    def __init__(
        self,
        policy: str | type[GPT2QPolicy] | type[GPT2QuantilePolicy],
        env: GymEnv | str | None,
        *,
        learning_rate: float | Schedule = 1e-4,
        buffer_size: int = 200_000,
        learning_starts: int = 2_048,
        batch_size: int = 256,
        train_freq: int = 1_024,
        gradient_steps: int = 8,
        gamma: float = 1.0,
        target_update_interval: int = 2_048,
        exploration_fraction: float = 0.5,
        exploration_initial_eps: float = 1.0,
        exploration_final_eps: float = 0.02,
        max_grad_norm: float = 1.0,
        reference: ReferenceSource = "initial",
        exploration: ExplorationKind = "reference",
        candidates: int | None = None,
        decode_rows: int = 128,
        potential_shaping: bool = False,
        _init_setup_model: bool = True,
        **plain: Any,
    ) -> None:
        """Keep what Stable-Baselines3's constructor does not know, and give it the rest."""
        check_numbers({"candidates": candidates})
        if isinstance(train_freq, bool) or not isinstance(train_freq, int) or train_freq < 1:
            raise ValueError(f"train_freq must be a number of tokens, at least 1, got {train_freq!r}.")
        for name, reason in NOT_OF_VALUES.items():
            if name in (plain.get("policy_kwargs") or {}):
                raise ValueError(f"{name} must be left out of policy_kwargs with {type(self).__name__}: {reason}.")
        Exploration(exploration, candidates)  # raises where these are wrong
        if reference is None and (exploration == "reference" or candidates is not None):
            raise ValueError(
                f"exploration={exploration!r} with candidates={candidates} needs a reference; pass "
                "reference='initial' or a model, or exploration='uniform' and candidates=None."
            )
        self.exploration: ExplorationKind = exploration
        self.candidates = candidates
        super().__init__(
            policy,
            env,
            reference=reference,
            decode_rows=decode_rows,
            potential_shaping=potential_shaping,
            learning_rate=learning_rate,
            buffer_size=buffer_size,
            learning_starts=learning_starts,
            batch_size=batch_size,
            train_freq=train_freq,
            gradient_steps=gradient_steps,
            gamma=gamma,
            target_update_interval=target_update_interval,
            exploration_fraction=exploration_fraction,
            exploration_initial_eps=exploration_initial_eps,
            exploration_final_eps=exploration_final_eps,
            max_grad_norm=max_grad_norm,
            **plain,
        )
        if _init_setup_model:
            self._set_up()

    @property
    def network(self) -> GPT2QNetwork:
        """The network that learns and chooses."""
        return self.policy.network

    def _reference_policy(self) -> GPT2Policy:
        network = self.network
        policy = GPT2Policy(
            network.observation_space,
            network.action_space,
            lambda _: 0.0,
            model=network.language_model,
            critic=None,
            token_rules=network.token_rules,
            autocast=network.autocast,
        )
        # Neither a second copy of a base nor of lower layers.
        share_frozen_parameters(network.language_model, policy.language_model)
        # The model brings its adapter along, for the reference to switch off.
        policy.lora = network.lora
        return policy.to(self.device)

    def _choose_buffer(self, seed: int) -> None:
        self.replay_buffer_class = EpisodeReplay
        self.replay_buffer_kwargs = {"seed": seed, "n_steps": self.n_steps, "gamma": self.gamma}

    def _setup_model(self) -> None:
        with warnings.catch_warnings():
            # It warns that a buffer of one's own has to be told n_steps, as this one is.
            warnings.filterwarnings("ignore", message="`n_steps=", category=UserWarning)
            super()._setup_model()
        self.network.exploration = Exploration(self.exploration, self.candidates, self.find_reference)

    def collect_rollouts(
        self,
        env: VecEnv,
        callback: BaseCallback,
        train_freq: TrainFreq,
        replay_buffer: ReplayBuffer,
        action_noise: ActionNoise | None = None,
        learning_starts: int = 0,
        log_interval: int | None = None,
    ) -> RolloutReturn:
        """Generate, score and store the episodes between two times of learning.

        Args:
            env: The environment.
            callback: Is called as in Stable-Baselines3.
            train_freq: Tokens to generate, nearly.
            replay_buffer: Takes the episodes.
            action_noise: Not used; it is for continuous actions.
            learning_starts: Before so many tokens, each is explored.
            log_interval: Write the log each time that so many episodes have passed.

        Returns:
            The number of tokens and of episodes, and whether no callback asked to stop.
        """
        self.policy.set_training_mode(False)
        callback.on_rollout_start()
        self._update_current_progress_remaining(self.num_timesteps, self._total_timesteps)
        is_warm = self.num_timesteps >= learning_starts
        rate = self.exploration_schedule(self._current_progress_remaining) if is_warm else 1.0
        with self.network.exploration.at_rate(rate):
            judged = self._play(train_freq.frequency)
        n_tokens = sum(len(item.rewards) for item in judged)
        # First, because an EvalCallback writes out what the logger holds.
        if not self._call_back(env, callback, judged):
            return RolloutReturn(n_tokens, len(judged), continue_training=False)
        self._store(cast(EpisodeReplay, replay_buffer), judged)
        self._record_episodes(judged)
        is_due = log_interval is not None and self._episode_num // log_interval != (
            (self._episode_num + len(judged)) // log_interval
        )
        self._episode_num += len(judged)
        callback.update_locals(locals())
        callback.on_rollout_end()
        if is_due:
            self.dump_logs()
        return RolloutReturn(n_tokens, len(judged), continue_training=True)

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
        """Choose the best token, or explore at the rate of training; see `GPT2QNetwork.choose`."""
        # The best token is found without the reference, which explores.
        with self.network.exploration.at_rate(0.0 if deterministic else self.exploration_rate):
            return super().predict(observation, state, episode_start, deterministic, top_k=top_k, top_p=top_p)

    def _adopt(self, replay: EpisodeReplay) -> None:
        """Let a loaded replay follow this algorithm's settings, also where it was filled with other candidates."""
        super()._adopt(replay)
        n_stored = None if replay.considered is None else replay.considered.shape[1]
        if n_stored == self._n_considered:
            return
        replay.considered = None
        if self._n_considered is not None and len(replay.lengths):
            reference = self.network.exploration.reference
            replay.append_considered(probable_tokens(reference, replay, self._n_considered))

    @property
    def _n_considered(self) -> int | None:
        return None if self.candidates is None else min(self.candidates, self.network.vocab_size)

    @torch.no_grad()
    def _outputs(self) -> dict[str, Tensor]:
        decision: Any = cast(EpisodeReplay, self.replay_buffer).first_decision()
        return {"the policy's Q values": self.network(decision)}

    def _store(self, replay: EpisodeReplay, judged: list[JudgedEpisode]) -> None:
        replay.append([to_record(item.episode, item.rewards) for item in judged])
        if self._n_considered is not None:
            n_new = min(len(judged), len(replay.lengths))
            reference = self.network.exploration.reference
            first = len(replay.lengths) - n_new
            replay.append_considered(probable_tokens(reference, replay, self._n_considered, first))

    def _after_step(self) -> None:
        self._update_current_progress_remaining(self.num_timesteps, self._total_timesteps)
        # Stable-Baselines3's own: it moves the target network when due, and schedules exploration.
        self._on_step()
