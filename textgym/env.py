"""`TextGen-v0`, the door for one episode at a time: a `gymnasium.Env` whose action is one token."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar, Unpack

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces

from .actions import read_token
from .contexts import as_numpy
from .core import StepResult, TextCore
from .rendering import EpisodePrinter, check_render_mode, render_ansi
from .task import TextTask
from .task_arguments import TaskArguments, resolve_task

Observation = dict[str, npt.NDArray[Any]]
Action = TypeVar("Action")


def observation_space(task: TextTask) -> spaces.Dict:
    """Return the space of one context; see `TextGenEnv`."""
    shape = (task.context_length,)
    return spaces.Dict(
        {
            "input_ids": spaces.Box(0, task.vocab_size - 1, shape, np.int64),
            "attention_mask": spaces.Box(0, 1, shape, np.int8),
            "is_generated": spaces.Box(0, 1, shape, np.int8),
        }
    )


def check_options(options: dict[str, Any] | None, *known: str) -> None:
    """Raise ValueError for a reset option that would have no effect."""
    unknown = sorted(set(options or {}) - set(known))
    if unknown:
        raise ValueError(f"reset() has {f'the options {list(known)}' if known else 'no options'}, got {unknown}.")


class TextEnv(gymnasium.Env[Observation, Action]):
    """What environments for one episode at a time have in common: all but their actions.

    Args:
        task: A task to share with other environments; None to make one from the remaining arguments.
        render_mode: `"ansi"`, `"human"` or None.
        device: Where the context lives.
        **arguments: What the task is made from, see `TextTask`.

    Attributes:
        defaults: Arguments that a subclass has other defaults for.
        training: Settings that `textgym train --task ID` begins with, in the form of its YAML file; where they depend
            on the arguments that an id is registered with, a subclass has `training_settings`.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "human"], "render_fps": 30}  # noqa: RUF012 (Gymnasium's own)
    defaults: ClassVar[TaskArguments] = {}
    training: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self,
        task: TextTask | None = None,
        *,
        render_mode: str | None = None,
        device: str | torch.device = "cpu",
        **arguments: Unpack[TaskArguments],
    ) -> None:
        check_render_mode(render_mode)
        self.task = resolve_task(task, arguments, self.defaults)
        self.core = TextCore(self.task, 1, device)
        self.render_mode = render_mode
        self.observation_space: spaces.Dict = observation_space(self.task)  # type: ignore[assignment]
        self._printer = EpisodePrinter()

    @classmethod
    def training_settings(cls, arguments: TaskArguments) -> dict[str, Any]:
        """Return settings that `textgym train --task ID` begins with, given what the id was registered with."""
        return dict(cls.training)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode with the next prompt.

        Args:
            seed: Seed of the prompts' order, which begins anew; None goes on in it.
            options: There are none.

        Returns:
            The observation and an empty info.
        """
        check_options(options)
        super().reset(seed=seed)
        if seed is not None or self.core.schedule.generators[0] is not self.np_random:
            self.core.schedule.seed_row(0, self.np_random)
        self.core.begin()
        if self.render_mode == "human":
            self._printer.begin(self.core.texts([0])[0][0])
        return self._observation(), {}

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Take an action.

        Args:
            action: See the class's action space.

        Returns:
            Observation, reward, terminated, truncated (always False) and info.

        Raises:
            TypeError: If the action is not of integers.
            ValueError: If it is outside the action space.
            ResetNeeded: If there is no episode, or it has ended.
            RewardError: If the reward function fails; the environment is then as it was before.
        """
        result = self._play(action)
        if self.render_mode == "human":
            self._printer.update(self.core.texts([0])[0][1], self.core.ending(0))
        if result is None:
            return self._observation(), 0.0, False, False, {}
        is_over = bool(result.is_over[0])
        info = dict(result.endings[0]) if is_over else {}
        if result.is_forbidden[0]:
            info["forbidden_action"] = True
        return self._observation(), float(result.rewards[0]), is_over, False, info

    def render(self) -> str | None:
        """Return the episode as coloured text in mode "ansi"; in mode "human" it is printed as it happens."""
        if self.render_mode != "ansi":
            return None
        return render_ansi(*self.core.texts([0])[0], self.core.ending(0))

    @abstractmethod
    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Tell which actions are allowed, True for each that is, as sb3-contrib expects it."""

    @abstractmethod
    def _play(self, action: Action) -> StepResult | None:
        """Check an action and take it; None says that it was appended, and nothing else happened."""

    def _observation(self) -> Observation:
        return self.core.contexts.copy_of_only_row()


class TextGenEnv(TextEnv[int]):
    """Generate text, one token at each step; unless told otherwise, of Python and machine learning, in time.

    ## Description
    An episode is one completion of one prompt. The state is the context: the prompt and what has been generated.

    Without arguments it is the reference task. The bundled GPT-2 goes on with 300 openings of texts on films, science,
    work and public life; 100 are held out. Its completion should hold "Python" and "machine learning", none of 29
    sensitive words ("war", "killed", ...), and end after 16 to 40 tokens: score = 0.5 · `Keywords` + 0.25 · (1 −
    `BannedWords`) + 0.25 · `LengthWindow`, 0 to 1. It may have 64 tokens.

    ## Action Space
    `Discrete(V)`: the next token. A token that `action_masks()` forbids (one that is banned, or the end of the
    sequence before `min_new_tokens`) may be chosen, but leaves the text as it is and costs one token of the budget.

    ## Observation Space
    A `Dict` of three arrays of length C = `max_prompt_tokens` + `max_new_tokens`, right padded:

    | key | dtype | meaning |
    |---|---|---|
    | `input_ids` | int64 | prompt, generated tokens, then the padding token |
    | `attention_mask` | int8 | 1 for the tokens of prompt and completion, 0 for padding |
    | `is_generated` | int8 | 1 for each token of the budget that is used up, the first one behind the prompt |

    So the generated tokens are those where both masks are 1. Each forbidden action makes one more padded position
    behind them 1 in `is_generated`, whose sum is thus the part of the budget that is used up, and the state Markov.

    ## Reward
    0 until the last step, which pays the reward function's score. Where that gives a reward for each token, the last
    step pays their sum, and they are in `info["token_rewards"]`. A `StepReward` also pays at each step for the text
    so far, but not for a forbidden action, which leaves the text as it is.

    ## Episode End
    `terminated` at the end-of-sequence token, when the text contains a stop string, or when the token budget is used
    up. `truncated` is always False; it stays for wrappers that limit time.

    ## Info
    Empty, but for `forbidden_action` (True) after a forbidden action. The last step gives

    | key | meaning |
    |---|---|
    | `prompt`, `completion` | the texts; the completion without end-of-sequence token, cut before a stop string |
    | `finish_reason` | `"eos"`, `"stop"` or `"length"` |
    | `n_tokens` | tokens generated, the end-of-sequence token included |
    | `score` | what the reward function gives for the completion |
    | `reward/<name>` | each term of the reward, unweighted; absent where the term does not apply |
    | `token_rewards` | list of one reward for each generated token; only where the reward function gives such |

    ## Arguments
    Those of `TextTask`: `tokenizer`, `prompts`, `reward`, `max_prompt_tokens`, `max_new_tokens`, `min_new_tokens`,
    `stop`, `banned_token_ids`, `allowed_token_ids`, `completions_per_prompt` (as many episodes in a row have the same
    prompt), `prompt_order`, `truncate_prompts`; or `task`, to share one. Besides `render_mode` (`"ansi"`, `"human"`
    or None) and `device`.

    >>> import gymnasium
    >>> def praise(completions, **columns):
    ...     return [float("good" in completion) for completion in completions]
    >>> env = gymnasium.make("textgym:TextGen-v0", prompts=["The film"], reward=praise, max_new_tokens=8)
    >>> observation, info = env.reset(seed=0)
    >>> for token_id in env.unwrapped.task.tokenizer(" is good")["input_ids"]:
    ...     observation, reward, terminated, truncated, info = env.step(token_id)
    >>> observation, reward, terminated, truncated, info = env.step(env.unwrapped.task.eos_token_id)
    >>> reward, terminated, info["completion"], info["finish_reason"]
    (1.0, True, ' is good', 'eos')

    ## Training
    `textgym train` generates 160,000 tokens, unless told otherwise.

    ## Reference Scores
    Of the reference task, on held-out prompts, tokens sampled:

    | policy | score |
    |---|---:|
    | random tokens | 0.204 |
    | untrained model | 0.240 |
    | best known | 0.982 |

    Solved at 0.90.

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
        self.action_space = spaces.Discrete(self.task.vocab_size)  # type: ignore[assignment]  # of np.int64

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Tell which tokens are allowed next, True for each that is, shape (V,)."""
        return as_numpy(self.core.action_masks()[0])

    def _play(self, action: int) -> StepResult | None:
        token = read_token(action, self.task.vocab_size)
        if self.core.append_plain(token):
            return None
        return self.core.step(self.core.contexts.array([token]))
