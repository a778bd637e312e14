"""`TextGenCompletion-v0`: a whole completion as one action, as an environment and as a vector environment."""

from typing import Any, Unpack

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from torch import Tensor

from .actions import read_tokens
from .contexts import Array, BoolArray, as_numpy
from .core import StepResult, TextCore
from .env import TextEnv
from .task import TextTask
from .task_arguments import TaskArguments
from .vector import TextVectorEnv


class TextGenCompletionEnv(TextEnv[npt.NDArray[np.int64]]):
    """Generate text, a whole completion in one step.

    ## Description
    The episodes of `TextGen-v0`, played in one step each: a contextual bandit with a prompt as context and a
    completion as action.

    ## Action Space
    `MultiDiscrete([V] * max_new_tokens)`: the completion's tokens. What follows the end-of-sequence token, or the
    token that completes a stop string, is ignored. Forbidden tokens are left out of the text, as in `TextGen-v0`.

    ## Observation Space
    That of `TextGen-v0`: the prompt after `reset`, prompt and completion after `step`.

    ## Reward
    What the episode's steps would pay in `TextGen-v0`, summed; of `PotentialShaping` the score, whatever its gamma.

    ## Episode End
    `terminated` is True after each step; `truncated` is always False.

    ## Info
    That of the last step in `TextGen-v0`; `forbidden_action` is True if one of the tokens was forbidden.

    ## Arguments
    Those of `TextGen-v0`.

    ## Version History
    v0: first version.
    """

    def __init__(
        self,
        task: TextTask | None = None,
        *,
        render_mode: str | None = None,
        device: str | torch.device = "cpu",
        **arguments: Unpack[TaskArguments],
    ) -> None:
        super().__init__(task, render_mode=render_mode, device=device, **arguments)
        self.action_space = completion_space(self.task)

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Tell which tokens are allowed at each position, True for each that is, shape (max_new_tokens · V,)."""
        return as_numpy(completion_masks(self.core))

    def _play(self, action: npt.NDArray[np.int64]) -> StepResult:
        tokens = read_tokens(action, (self.task.max_new_tokens,), self.task.vocab_size)
        return self.core.play(self.core.contexts.array(tokens)[None])


class TextGenCompletionVectorEnv(TextVectorEnv):
    """Generate many texts, each in one step; `TextGenCompletion-v0` as `gymnasium.make_vec` gives it.

    Spaces, rewards, ends and infos of a row are those of `TextGenCompletionEnv`. As each step ends each episode,
    `autoreset_mode="SAME_STEP"` spares every second step, which in mode NEXT_STEP only resets.
    """

    def action_masks(self) -> Array:
        """Tell which tokens are allowed at each position in each row, shape (B, max_new_tokens · V)."""
        masks = completion_masks(self.core).repeat(self.num_envs, 1)
        return masks if self.output == "torch" else as_numpy(masks)

    def _make_action_space(self) -> spaces.Space[Any]:
        return completion_space(self.task)

    def _play(self, tokens: Array, is_playing: BoolArray | None) -> StepResult:
        return self.core.play(tokens, is_playing)


def completion_space(task: TextTask) -> spaces.MultiDiscrete:
    """Return the space of whole completions."""
    return spaces.MultiDiscrete([task.vocab_size] * task.max_new_tokens)


def completion_masks(core: TextCore) -> Tensor:
    """Tell which tokens are allowed at each position of a completion, flat, shape (max_new_tokens · V,)."""
    n_generated = torch.arange(core.task.max_new_tokens, device=core.device)
    return core.task.allowed_mask(n_generated).flatten()
