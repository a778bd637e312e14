"""What every algorithm on the sequence path shares: its task, its reference, and rollouts of whole, judged episodes."""

import math
import secrets
import time
from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import HumanOutputFormat
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import safe_mean
from stable_baselines3.common.vec_env import VecEnv

from textgym.devices import read_device
from textgym.episodes import episode_info
from textgym.shaping import require_same_gamma
from textgym.task import TextTask

from . import gpu_path
from .environments import as_text_environment, episode_statistics, find_text_environment, write_episode
from .forward_record import DecodingPlan
from .generation import GeneratedEpisode, generate_looks
from .judging import JudgedEpisode, judge_episodes
from .language_policy import LanguagePolicy
from .needless_arguments import refuse_unused, unknown_argument
from .number_checks import check_numbers
from .persistence import CheckedPersistence
from .policy import GPT2Policy
from .policy_checks import check_level, check_policy_class, check_policy_name
from .reference import Reference, ReferenceSource, ReferenceStore
from .token_rules import token_rules

# Characters of a name in the table that is printed.
LONGEST_NAME = 200


class SequenceAlgorithm(CheckedPersistence):
    """A mixin before Stable-Baselines3's on-policy or off-policy class.

    A rollout is a fixed number of whole episodes: as many as hold about the tokens asked for at the mean length of the
    rollout before. Since that number is known before any of them is started, neither short nor long ones are
    preferred.
    """

    settings_of_load: ClassVar[frozenset[str]] = frozenset({"reference"})
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]]
    gamma: float

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        check_policy_name(policy_name, self.policy_aliases)
        return super()._get_policy_from_name(policy_name)

    def __init__(
        self,
        policy: Any,
        env: GymEnv | str | None,
        *,
        reference: ReferenceSource,
        decode_rows: int,
        potential_shaping: bool,
        **plain: Any,
    ) -> None:
        """Keep what Stable-Baselines3's constructor does not know, and give it the rest, `plain`.

        The model is not set up yet.
        """
        refuse_unused(plain)
        check_numbers({"decode_rows": decode_rows, "potential_shaping": potential_shaping, **plain})
        check_policy_class(policy, self.policy_aliases, type(self).__name__)
        read_device(plain.get("device", "auto"))  # raises where there is none of that name
        # By it `load` tells the file of another algorithm, which may have all the attributes of this one.
        self.class_name = type(self).__name__
        self.reference_store = ReferenceStore(reference)
        self.decode_rows = decode_rows
        self.potential_shaping = potential_shaping
        self.expected_length: float | None = None
        # Stable-Baselines3's own count begins anew with each call of `learn`; random numbers must not.
        self.n_episodes_started = 0
        # Stable-Baselines3 would make an id with render_mode="rgb_array".
        made = gym.make(env) if isinstance(env, str) else env
        if made is not None:
            made = as_text_environment(made)
            check_level(policy, self.policy_aliases, type(self).__name__, made)
        # sb3-contrib's QRDQN writes its optimiser into the dictionary that it is given.
        policy_kwargs = dict(plain.pop("policy_kwargs", None) or {})
        arguments = {**plain, "policy_kwargs": policy_kwargs, "_init_setup_model": False}
        try:
            super().__init__(policy, made, **arguments)
        except TypeError as error:
            unknown = unknown_argument(type(self), error)
            if unknown is None:
                raise
            raise unknown from error

    @property
    def _acts_by_completion(self) -> bool:
        return isinstance(self.action_space, spaces.MultiDiscrete)

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

    @property
    def network(self) -> LanguagePolicy:
        """The network that chooses tokens."""
        raise NotImplementedError

    def find_reference(self) -> Reference | None:
        """Return the frozen reference, after loading by its name where it is not in memory; None where there is none.

        Raises:
            ValueError: If it cannot be found again, or is not what it was.
        """
        return self.reference_store.find(self._reference_policy, self.__dict__.get("reference"))

    def _reference_policy(self) -> GPT2Policy:
        """Return a policy whose temperature, rules, device and, before training, weights are the reference's."""
        raise NotImplementedError

    def _choose_buffer(self, seed: int) -> None:
        """Tell Stable-Baselines3 which buffer to make."""
        raise NotImplementedError

    def _set_up(self) -> None:
        """Make networks and buffer of a new algorithm, which needs an environment for that; `load` does not."""
        if self.env is None:
            name = type(self).__name__
            raise ValueError(f"{name} needs an environment, got None; only {name}.load needs none, to predict.")
        self._setup_model()

    def _setup_model(self) -> None:
        if self.potential_shaping and self._acts_by_completion and self.env is not None:
            raise ValueError(
                "potential_shaping pays single tokens, and on TextGenCompletion-v0 a whole completion is one action; "
                "leave it out, or make TextGen-v0."
            )
        if self.seed is None:
            self.seed = secrets.randbelow(1 << 31)
        if vars(self).get("reference", "") is None:
            # As `load(…, reference=None)` has asked for, and as it is saved again.
            self.reference_store = ReferenceStore(None)
        # A copy, since the caller may make the next algorithm from the same arguments.
        self.policy_kwargs = dict(self.policy_kwargs)
        if self.env is not None:
            # Also where an algorithm is loaded for another task than it was saved with.
            self.policy_kwargs["token_rules"] = token_rules(self.task)
            if self.policy_kwargs.get("model") is None:
                self.policy_kwargs["model"] = self.task.model_name
        model_source = self.policy_kwargs.get("model")
        self._choose_buffer(self.seed)
        super()._setup_model()
        # The saved algorithm needs the network's shape; its weights are saved apart.
        self.policy_kwargs["model"] = self.network.language_model.config
        if self.network.lora is not None:
            self.policy_kwargs["lora"] = self.network.lora
        self.reference_store.set_up(self._reference_policy, model_source)

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        self.find_reference()  # before any rollout is paid for
        require_same_gamma(self.task.reward, self.gamma, type(self).__name__)
        result = super()._setup_learn(*args, **kwargs)
        for output in self.logger.output_formats:
            if isinstance(output, HumanOutputFormat):
                # It cuts names, and values, off, and then refuses two names that begin alike, as a reward's terms may.
                output.max_length = max(output.max_length, LONGEST_NAME)
        return result

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        # The last rollout goes beyond the tokens that were asked for, and no schedule beyond its end.
        super()._update_current_progress_remaining(min(num_timesteps, total_timesteps), total_timesteps)

    def _update_learning_rate(self, optimizers: list[torch.optim.Optimizer] | torch.optim.Optimizer) -> None:
        rate = self.lr_schedule(self._current_progress_remaining)
        if not rate >= 0:  # NaN neither
            raise ValueError(
                f"learning_rate must be at least 0, got {rate} from its schedule at the remaining progress "
                f"{self._current_progress_remaining:g}."
            )
        super()._update_learning_rate(optimizers)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Let a seed decide prompts, tokens and minibatches from now on, and seed all random number generators."""
        super().set_random_seed(seed)
        if seed is not None:
            self.seed = seed
            for name in ("rollout_buffer", "replay_buffer"):
                if vars(self).get(name) is not None:
                    vars(self)[name].seed = seed

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
        """Choose the next token of one context or of several; see `LanguagePolicy.predict`."""
        return self.network.predict(observation, state, episode_start, deterministic, top_k=top_k, top_p=top_p)

    def _play(self, n_tokens: int) -> list[JudgedEpisode]:
        """Generate and judge so many whole episodes as should have about `n_tokens`."""
        task = self.task
        group = task.completions_per_prompt
        n_episodes = max(2, math.ceil(n_tokens / (self.expected_length or task.max_new_tokens)))
        n_episodes = math.ceil(n_episodes / group) * group
        # A group begins at a multiple of its size, also where another task's groups came before.
        first = math.ceil(self.n_episodes_started / group) * group
        numbers = range(first, first + n_episodes)
        looks = generate_looks(self.network, task, numbers, seed=self.seed or 0, num_rows=self.decode_rows)
        episodes: list[GeneratedEpisode] = []
        prepare = partial(self._prepare, episodes)
        # A GPU works while the last texts are decoded and judged, where a CPU would keep them waiting.
        is_first = gpu_path.is_for_gpu(next(self.network.parameters()))

        def passed() -> Iterator[GeneratedEpisode]:
            for look in looks:
                self._check_finite(look)
                episodes.extend(look)
                if is_first and len(episodes) == n_episodes:
                    looks.close()  # and its cache goes
                    prepare()
                yield from look

        meanwhile = None if is_first else prepare
        plan = DecodingPlan(n_episodes, task.max_new_tokens) if self._learns_at_once else None
        with self.network.memory.recording(plan):
            judged = list(
                judge_episodes(
                    task,
                    passed(),
                    self.potential_shaping,
                    self.gamma,
                    is_one_action=self._acts_by_completion,
                    meanwhile=meanwhile,
                )
            )
        self.n_episodes_started = numbers.stop
        self.expected_length = sum(len(item.rewards) for item in judged) / n_episodes
        return judged

    @property
    def _learns_at_once(self) -> bool:
        """Whether an update begins with all of a rollout, as far as can be told, and so repeats its forward pass."""
        return False

    def _check_finite(self, episodes: list[GeneratedEpisode]) -> None:
        """Raise NonFiniteError if what episodes were drawn from is NaN or infinite."""
        if not all(episode.is_finite for episode in episodes):
            raise self._non_finite("the policy's log_prob in a rollout")

    def _prepare(self, episodes: list[GeneratedEpisode]) -> None:
        """Begin with what needs no rewards, when all of a rollout is there and the last of it is still to be judged."""

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
        is_end = np.zeros(len(token_rewards), dtype=np.bool_)
        is_end[list(ends)] = True
        for start in range(0, len(token_rewards), env.num_envs):
            rewards = token_rewards[start : start + env.num_envs]
            dones = is_end[start : start + env.num_envs]
            infos: list[dict[str, Any]] = [{} for _ in range(len(rewards))]
            for index in dones.nonzero()[0].tolist():
                infos[index] = ends[start + index]
            self.num_timesteps += len(rewards)
            callback.update_locals(locals())
            if not callback.on_step():
                return False
            self._after_step()
        return True

    def _after_step(self) -> None:
        """Do what Stable-Baselines3's algorithm does after each step; on-policy ones do nothing."""

    def _record_episodes(self, judged: list[JudgedEpisode]) -> None:
        """Log score, terms, length and entropy of a rollout's episodes, and when it was done."""
        # Beside Stable-Baselines3's own `time/time_elapsed`, which has whole seconds: small tasks are solved in a few.
        self.logger.record("time/seconds", (time.time_ns() - self.start_time) / 1e9, exclude="tensorboard")
        scores = [item.judgement.score for item in judged]
        self.logger.record("rollout/score", safe_mean(scores))
        for name in judged[0].judgement.terms:
            values = [item.judgement.terms[name] for item in judged]
            self.logger.record(f"rollout/reward/{name}", safe_mean([value for value in values if value is not None]))
        n_tokens = sum(len(item.rewards) for item in judged)
        self.logger.record("rollout/n_tokens", n_tokens / len(judged))
        ended = [item.episode.text.finish_reason != "length" for item in judged]
        self.logger.record("rollout/ended_share", sum(ended) / len(ended))
        log_prob = torch.cat([item.episode.log_prob for item in judged])
        self.logger.record("rollout/entropy", -float(log_prob.mean()))
