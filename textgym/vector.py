"""The door for many episodes at a time: a `gymnasium.vector.VectorEnv`, which `gymnasium.make_vec` gives."""

from abc import abstractmethod
from typing import Any, ClassVar, Literal, Unpack

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from .actions import read_tokens
from .contexts import Array, BoolArray, as_numpy
from .core import StepResult, TextCore
from .env import TextEnv, check_options, observation_space
from .named_objects import nearest
from .rendering import check_render_mode, print_episode, render_ansi
from .task import TextTask
from .task_arguments import TaskArguments, resolve_task
from .vector_infos import gather_infos

Observations = dict[str, Any]
Step = tuple[Observations, Array, Array, Array, dict[str, Any]]


def read_autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    """Return an autoreset mode given as such, or by name, as `"NEXT_STEP"`, `"next_step"` or `"NextStep"`."""
    if isinstance(mode, AutoresetMode):
        return mode
    for member in AutoresetMode:
        if str(mode).replace("_", "").casefold() == member.value.casefold():
            return member
    names = [member.name for member in AutoresetMode]
    raise ValueError(f"autoreset_mode must be one of {names}, got {mode!r}.{nearest(str(mode).upper(), names)}")


class TextVectorEnv(VectorEnv[Observations, Any, Any]):
    """What environments for many episodes at a time have in common: all but their actions.

    Infos are as `SyncVectorEnv` makes them: an array for each key, and a mask `_key` that says for which rows it holds.

    Args:
        num_envs: Number of rows B, 1 or a multiple of `completions_per_prompt`.
        task: A task to share with other environments; None to make one from the remaining arguments.
        render_mode: `"ansi"` (`render` returns a text for each row), `"human"` (each finished episode is printed) or
            None.
        device: Where the contexts live.
        autoreset_mode: `"NEXT_STEP"` (a row that ended begins its next episode at the next step, which ignores its
            action), `"SAME_STEP"` (it begins at once; `final_obs` and `final_info` are in the infos) or `"DISABLED"`
            (it has to be begun by `reset(options={"reset_mask": mask})`).
        output: `"numpy"`, or `"torch"` for observations, rewards and ends as tensors on the device.
        **arguments: What the task is made from, see `TextTask`.

    Attributes:
        defaults: Arguments that a subclass has other defaults for.
    """

    defaults: ClassVar[TaskArguments] = {}

    def __init__(
        self,
        num_envs: int = 1,
        task: TextTask | None = None,
        *,
        render_mode: str | None = None,
        device: str | torch.device = "cpu",
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        output: Literal["numpy", "torch"] = "numpy",
        **arguments: Unpack[TaskArguments],
    ) -> None:
        check_render_mode(render_mode)
        if output not in ("numpy", "torch"):
            raise ValueError(f"output must be 'numpy' or 'torch', got {output!r}.")
        self.autoreset_mode = read_autoreset_mode(autoreset_mode)
        self.task = resolve_task(task, arguments, self.defaults)
        self.core = TextCore(self.task, num_envs, device)
        self.num_envs = self.core.num_envs
        self.render_mode = render_mode
        self.output = output
        self.metadata = {**TextEnv.metadata, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = observation_space(self.task)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.single_action_space = self._make_action_space()
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._action_shape: tuple[int, ...] = (self.num_envs, *(self.single_action_space.shape or ()))

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin an episode in each row.

        Args:
            seed: `s` seeds row i with `s + i`, but rows of one group alike; a list has one seed a row. A row that is
                seeded begins its order of prompts anew.
            options: `{"reset_mask": mask}` resets only the rows where the boolean array of shape (B,) is True.

        Returns:
            The observations and an empty info.
        """
        check_options(options, "reset_mask")
        rows = self._rows_to_reset(options["reset_mask"]) if options and "reset_mask" in options else None
        if isinstance(seed, int | np.integer):
            super().reset(seed=int(seed))  # `np_random`, from which nothing is drawn here
        self.core.schedule.seed(seed, rows)
        self.core.begin(rows)
        return self._observation(), {}

    def step(self, actions: Any) -> Step:
        """Take an action in each row.

        Args:
            actions: Array, tensor or list of the action space's shape.

        Returns:
            Observations, rewards, terminated, truncated (always False) and infos, each with one entry a row.

        Raises:
            TypeError: If the actions are not integers.
            ValueError: If they have the wrong shape or are outside the action space.
            ResetNeeded: If a row has no episode, or with autoreset disabled one that has ended.
            RewardError: If the reward function fails; the environment is then as it was before.
        """
        self.core.check_begun()
        begins_rows = self.autoreset_mode == AutoresetMode.NEXT_STEP and self.core.has_ended_rows
        is_playing = ~self.core.is_over if begins_rows else None
        tokens = self.core.contexts.array(read_tokens(actions, self._action_shape, self.task.vocab_size, is_playing))
        if is_playing is None:
            result = self._play(tokens, None)
        else:
            rows_over = self.core.is_over.nonzero()[0]
            result = self._play(tokens, is_playing)
            self.core.begin(rows_over)
        if self.render_mode == "human":
            for ending in result.endings.values():
                print_episode(ending)
        infos = self._infos(result)
        if self.autoreset_mode == AutoresetMode.SAME_STEP and result.endings:
            self.core.begin(result.endings.rows)
        is_truncated = np.zeros(self.num_envs, dtype=np.bool_)
        arrays = result.rewards, result.is_over, is_truncated
        rewards, terminated, truncated = arrays if self.output == "numpy" else map(self._as_tensor, arrays)
        return self._observation(), rewards, terminated, truncated, infos

    def render(self) -> tuple[str, ...] | None:
        """Return each row's episode as coloured text in mode "ansi", else None."""
        if self.render_mode != "ansi":
            return None
        texts = self.core.texts(range(self.num_envs))
        return tuple(render_ansi(*text, self.core.ending(row)) for row, text in enumerate(texts))

    @abstractmethod
    def action_masks(self) -> Array:
        """Tell which actions each row is allowed, True for each that is."""

    @abstractmethod
    def _make_action_space(self) -> spaces.Space[Any]:
        """Return the space of one row's action."""

    @abstractmethod
    def _play(self, tokens: Array, is_playing: BoolArray | None) -> StepResult:
        """Take actions that have been checked."""

    def _observation(self) -> Observations:
        observation = self.core.observation()
        if self.output == "torch":
            return {key: torch.as_tensor(value) for key, value in observation.items()}
        return (
            observation if self.core.contexts.is_numpy else {key: as_numpy(value) for key, value in observation.items()}
        )

    def _as_tensor(self, array: npt.NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(array)
        return tensor.to(self.core.device, torch.float32 if tensor.is_floating_point() else tensor.dtype)

    def _infos(self, result: StepResult) -> dict[str, Any]:
        rows, columns = result.endings.rows, result.endings.columns
        infos = gather_infos(rows, columns, self.num_envs) if len(rows) else {}
        if infos and self.autoreset_mode == AutoresetMode.SAME_STEP:
            final = gather_infos(rows, {"final_obs": self._rows_of_observation(rows)}, self.num_envs)
            infos = {**final, "final_info": infos, "_final_info": result.is_over.copy()}
        if not self.task.restricts_tokens:
            return infos
        is_forbidden = result.is_forbidden & ~result.is_over
        if is_forbidden.any():
            # A row that has ended says so itself, in the same step.
            at_ends = (infos.get("forbidden_action", False), infos.get("_forbidden_action", False))
            infos["forbidden_action"], infos["_forbidden_action"] = (is_forbidden | at_end for at_end in at_ends)
        return infos

    def _rows_of_observation(self, rows: npt.NDArray[np.int64]) -> list[Observations]:
        chosen = {key: value[rows] for key, value in self._observation().items()}
        return [{key: value[index] for key, value in chosen.items()} for index in range(len(rows))]

    def _rows_to_reset(self, mask: Any) -> list[int]:
        if not isinstance(mask, np.ndarray | Tensor):
            raise TypeError(f"options['reset_mask'] must be an array or tensor, got {type(mask).__name__}.")
        array = as_numpy(mask)
        if array.dtype != np.bool_ or array.shape != (self.num_envs,):
            raise ValueError(
                f"options['reset_mask'] must be boolean of shape ({self.num_envs},), got {array.dtype} of shape "
                f"{array.shape}."
            )
        if not array.any():
            raise ValueError("options['reset_mask'] must be True for at least one row, got only False.")
        rows: list[int] = np.flatnonzero(array).tolist()
        return rows


class TextGenVectorEnv(TextVectorEnv):
    """Generate many texts, one token of each at each step; `TextGen-v0` as `gymnasium.make_vec` gives it.

    Spaces, rewards, ends and infos of a row are those of `TextGenEnv`. In random order, and without groups
    (`completions_per_prompt`), a row that is seeded alike gets the same prompts too; in sequential order rows share the
    prompts out.
    """

    def action_masks(self) -> Array:
        """Tell which tokens are allowed next in each row, True for each that is, shape (B, V)."""
        masks = self.core.action_masks()
        return masks if self.output == "torch" else as_numpy(masks)

    def _make_action_space(self) -> spaces.Space[Any]:
        return spaces.Discrete(self.task.vocab_size)

    def _play(self, tokens: Array, is_playing: BoolArray | None) -> StepResult:
        return self.core.step(tokens, is_playing)
