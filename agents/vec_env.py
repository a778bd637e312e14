"""The door for Stable-Baselines3: many episodes at a time as one `VecEnv`, without one Python object for each."""

from collections.abc import Callable, Sequence
from typing import Any, Unpack

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from textgym.actions import read_tokens
from textgym.contexts import as_numpy
from textgym.core import TextCore
from textgym.env import check_options, observation_space
from textgym.rendering import check_render_mode, print_episode, render_ansi
from textgym.task import TextTask
from textgym.task_arguments import TaskArguments, resolve_task


class TextGenVecEnv(VecEnv):
    """`TextGen-v0` as a `VecEnv` of Stable-Baselines3.

    Observations, rewards, ends and infos of a row are those of `DummyVecEnv` over `TextGenEnv`. In random order, and
    without groups, a row that is seeded alike gets the same prompts too; see `TextGenVectorEnv`.

    Args:
        num_envs: Number of rows B, 1 or a multiple of `completions_per_prompt`.
        task: A task to share with other environments; None to make one from the remaining arguments.
        render_mode: `"ansi"`, `"human"` (each finished episode is printed) or None.
        device: Where the contexts live.
        **arguments: What the task is made from, see `TextTask`.

    Attributes:
        task: The rules.
        core: The rows.

    Example:
        >>> env = TextGenVecEnv(2, prompts=["The film", "The sea"], max_new_tokens=8)
        >>> env.reset()["input_ids"].shape
        (2, 32)
    """

    def __init__(
        self,
        num_envs: int = 1,
        task: TextTask | None = None,
        *,
        render_mode: str | None = None,
        device: str | torch.device = "cpu",
        **arguments: Unpack[TaskArguments],
    ) -> None:
        check_render_mode(render_mode)
        self.task = resolve_task(task, arguments)
        self.core = TextCore(self.task, num_envs, device)
        self.render_mode = render_mode
        self._actions: Any = None
        super().__init__(self.core.num_envs, observation_space(self.task), spaces.Discrete(self.task.vocab_size))

    def reset(self) -> VecEnvObs:
        """Begin an episode in each row, with the seeds that `seed()` has left."""
        for options in self._options:
            check_options(options)
        self.core.schedule.seed(self._seeds)
        self.core.begin()
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return self._observation()

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Keep the actions for `step_wait`.

        Args:
            actions: Token ids, shape (B,).
        """
        self.core.check_begun()
        self._actions = read_tokens(actions, (self.num_envs,), self.task.vocab_size)

    def step_wait(self) -> VecEnvStepReturn:
        """Take the actions of `step_async`, and begin the next episode where one has ended.

        Returns:
            Observations, rewards, dones and one info a row. That of an ended row also has its last observation, as
            `terminal_observation`.

        Raises:
            RewardError: If the reward function fails; the environment is then as it was before.
        """
        if self._actions is None:
            raise ValueError("There are no actions to take; call step_async(actions) before step_wait().")
        actions, self._actions = self._actions, None
        result = self.core.step(self.core.contexts.array(actions))
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        for row in np.flatnonzero(result.is_forbidden).tolist():
            infos[row]["forbidden_action"] = True
        if result.endings:
            rows = list(result.endings)
            last = {key: value[rows] for key, value in self._observation().items()}
            for index, (row, ending) in enumerate(result.endings.items()):
                infos[row].update(ending, terminal_observation={key: value[index] for key, value in last.items()})
                self.reset_infos[row] = {}
                if self.render_mode == "human":
                    print_episode(ending)
            self.core.begin(rows)
        return self._observation(), result.rewards.astype(np.float32), result.is_over, infos

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Tell which tokens are allowed next in each row, True for each that is, shape (B, V)."""
        return as_numpy(self.core.action_masks())

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute, which all rows share, once for each row asked for."""
        value = getattr(self, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of all rows.

        Raises:
            ValueError: If only some rows are asked for, or the attribute is one of `task`, `core` and `num_envs`.
        """
        if len(list(self._get_indices(indices))) != self.num_envs:
            raise ValueError(f"{attr_name} can only be set for all rows at once, since they share it.")
        if attr_name in ("task", "core", "num_envs"):
            raise ValueError(f"{attr_name} cannot be changed; make a new environment.")
        setattr(self, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a row's method, which is `action_masks` or `render`, for each row asked for.

        Raises:
            AttributeError: If it is another method.
            TypeError: If it is called with arguments, for these have none.
        """
        methods: dict[str, Callable[[], Any]] = {"action_masks": self.action_masks, "render": self._frames}
        if method_name not in methods:
            raise AttributeError(f"rows have the methods {list(methods)}, got {method_name!r}.")
        if method_args or method_kwargs:
            raise TypeError(f"{method_name}() takes no arguments, got {[*method_args, *method_kwargs]}.")
        results = methods[method_name]()
        return [results[row] for row in self._get_indices(indices)]

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Tell that no row is wrapped."""
        return [False for _ in self._get_indices(indices)]

    def _frames(self) -> Sequence[str | None]:
        if self.render_mode != "ansi":
            return [None] * self.num_envs
        texts = self.core.texts(range(self.num_envs))
        return [render_ansi(*text, self.core.ending(row)) for row, text in enumerate(texts)]

    def _observation(self) -> dict[str, npt.NDArray[Any]]:
        return {key: as_numpy(value) for key, value in self.core.observation().items()}
