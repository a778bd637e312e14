"""The one state machine behind every door: B token-level MDPs as arrays on one device, and no loop over them.

A door (`TextGenEnv`, `TextGenVectorEnv`, `TextGenVecEnv`, ...) checks actions, calls `step` and `begin`, and puts the
result into the shape of its interface. Python work for a single row happens only where that row's episode ends (its
text is decoded and judged) or begins, where a token may complete a stop string, or where the reward pays on the way.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from gymnasium.error import ResetNeeded
from torch import Tensor

from .contexts import Array, BoolArray, Contexts, as_numpy, without
from .devices import find_device
from .endings import NO_ENDINGS, Endings, judge
from .prompt_schedule import PromptSchedule
from .prompts import Prompt
from .reward_protocol import StepReward
from .shaping import asks_for_shaping, shaping_gamma
from .task import TextTask

FloatArray = npt.NDArray[np.float64]


class StepResult(NamedTuple):
    """What one step gave to B rows.

    Attributes:
        rewards: Reward, 0 for rows that were not playing, shape (B,).
        is_over: Whether the row's episode ended with this step, shape (B,).
        is_forbidden: Whether the row's action was a forbidden token, shape (B,).
        endings: The `info` of each row that ended, by row, in row order.
    """

    rewards: FloatArray
    is_over: BoolArray
    is_forbidden: BoolArray
    endings: Endings


# What is known of a token before its row is looked at.
_PLAIN, _EOS, _FORBIDDEN, _MAY_STOP = range(4)


class TextCore:
    """Plays B episodes of a task at a time.

    Args:
        task: The rules.
        num_envs: Number of rows B, 1 or a multiple of `task.completions_per_prompt`.
        device: Where the contexts live.

    Attributes:
        contexts: The rows' tokens.
        schedule: Which prompt comes next in each row.
        is_over: True for each row that has to be begun before it can be stepped, shape (B,).
    """

    def __init__(self, task: TextTask, num_envs: int = 1, device: str | torch.device = "cpu") -> None:
        self.task = task
        self.schedule = PromptSchedule(task, num_envs)
        self.num_envs = int(num_envs)
        self.device = find_device(device)
        self.contexts = Contexts(task, self.num_envs, self.device)
        self.is_over = np.ones(self.num_envs, dtype=np.bool_)
        # Of each row that is over, the endings of its last step, which also hold those of the rows beside it.
        self._ended_with: dict[int, Endings] = {}
        self._pays_steps = isinstance(task.reward, StepReward)
        self._is_shaped = asks_for_shaping(task.reward)
        self._shaping_gamma = shaping_gamma(task.reward)
        self._paid = np.zeros(self.num_envs)  # each row's potential: at gamma 1, what it has been paid of the score
        self._kinds = _kinds_of_tokens(task)
        # Where nothing but the last token is ever paid, most tokens of a single row are only appended.
        self._may_be_plain = self.num_envs == 1 and not self._pays_steps and not self._is_shaped
        self._is_plain = (self._kinds == _PLAIN).tolist()
        self._has_begun = False  # every row

    def ending(self, row: int) -> dict[str, Any] | None:
        """Return the `info` that a row's episode ended with; None where it is not over."""
        endings = self._ended_with.get(row)
        return None if endings is None else endings[row]

    @property
    def has_ended_rows(self) -> bool:
        """Whether the episode of any row is over."""
        return bool(self._ended_with)

    def begin(self, rows: Sequence[int] | npt.NDArray[np.int64] | None = None) -> None:
        """Start the next episode in some rows, or in all."""
        row_ids = np.arange(self.num_envs) if rows is None else np.asarray(rows)
        self.schedule.advance(row_ids)
        for row in row_ids.tolist():
            self._ended_with.pop(row, None)
        self.contexts.begin(row_ids, self.schedule.current[row_ids])
        self._has_begun = self._has_begun or bool((self.schedule.current >= 0).all())
        self._paid[row_ids] = 0.0
        self.is_over[row_ids] = False

    def step(self, tokens: Array, is_playing: BoolArray | None = None) -> StepResult:
        """Append one token to each row.

        Args:
            tokens: Token ids within the vocabulary, as `contexts.array` gives them, shape (B,).
            is_playing: False for rows to be left alone; None for none. Shape (B,).

        Raises:
            ResetNeeded: If a row that should play is over.
            RewardError: If the reward fails; then nothing has changed.
        """
        return self._play([tokens], is_playing)

    def append_plain(self, token: int) -> bool:
        """Append a token to the only row where `step` would do nothing else, and return whether that was done.

        It would do something else where the row is over, where the token may end the text or is forbidden, where it is
        the last of the budget, and where it is paid.
        """
        if not (self._may_be_plain and self._is_plain[token] and self._has_begun and not self._ended_with):
            return False
        return self.contexts.append_to_only_row(token)

    def play(self, tokens: Array, is_playing: BoolArray | None = None) -> StepResult:
        """Append several tokens to each row, until its episode ends; what is left of a row's tokens is ignored.

        Args:
            tokens: Token ids within the vocabulary, as `contexts.array` gives them, shape (B, T).
            is_playing: As for `step`.

        Returns:
            The result, with the rewards of all T tokens summed.

        Raises:
            ResetNeeded: If a row that should play is over.
            RewardError: If the reward fails; then nothing has changed.
        """
        return self._play([tokens[:, column] for column in range(tokens.shape[1])], is_playing)

    def observation(self) -> dict[str, Array]:
        """Return the rows' contexts as fresh arrays, each of shape (B, C); see `TextGenEnv`'s observation space."""
        return self.contexts.copy()

    def action_masks(self) -> Tensor:
        """Tell which tokens each row may append next, shape (B, V)."""
        return self.task.allowed_mask(torch.as_tensor(self.contexts.n_generated, device=self.device))

    def texts(self, rows: Sequence[int]) -> list[tuple[str, str]]:
        """Return prompt and completion so far of some rows."""
        self.check_begun(rows)
        ids = self.contexts.generated_ids(rows)
        texts = [self.task.completion_text(row_ids) for row_ids in ids]
        return [(self.prompt(row).text, text) for row, text in zip(rows, texts, strict=True)]

    def prompt(self, row: int) -> Prompt:
        """Return a row's prompt."""
        return self.task.prompts[int(self.schedule.current[row])]

    def check_begun(self, rows: Sequence[int] | None = None) -> None:
        """Raise ResetNeeded if one of some rows, or of all, has never been begun."""
        if self._has_begun:
            return
        current = self.schedule.current if rows is None else self.schedule.current[list(rows)]
        if (current < 0).any():
            raise ResetNeeded("There is no episode yet; call reset() first.")

    def _check_playable(self, is_playing: BoolArray | None) -> None:
        if self._has_begun and not self._ended_with:
            return
        over = (self.is_over if is_playing is None else self.is_over & is_playing).nonzero()[0]
        if not len(over):
            return
        self.check_begun(over.tolist())
        if self.num_envs == 1:
            raise ResetNeeded("The episode has ended; call reset() before the next step().")
        raise ResetNeeded(
            f"The episodes of rows {over.tolist()} have ended; begin new ones by "
            "reset(options={'reset_mask': ...}) before the next step()."
        )

    def _play(self, columns: Sequence[Array], is_playing: BoolArray | None) -> StepResult:
        """Do what `play` says, given T arrays of shape (B,)."""
        self._check_playable(is_playing)
        before = self.contexts.progress, self._paid
        rewards = np.zeros(self.num_envs)
        is_forbidden = np.zeros(self.num_envs, dtype=np.bool_)
        try:
            is_over = self._append_all(columns, is_playing, rewards, is_forbidden)
            rows = is_over.nonzero()[0]
            endings = self._judge(rows, is_forbidden[rows]) if len(rows) else NO_ENDINGS
        except BaseException:
            self.contexts.rewind(before[0])
            self._paid = before[1]
            raise
        if len(rows):
            paid_before = rewards[rows]
            rewards[rows] = endings.columns["score"]
            if self._pays_steps:
                rewards[rows] += paid_before
            if self._is_shaped:
                rewards[rows] -= self._paid[rows]
            self.is_over[rows] = True
            for row in rows.tolist():
                self._ended_with[row] = endings
        return StepResult(rewards, is_over, is_forbidden, endings)

    def _append_all(
        self, columns: Sequence[Array], is_playing: BoolArray | None, rewards: FloatArray, is_forbidden: BoolArray
    ) -> BoolArray:
        """Append T tokens to each row, add what is paid for them on the way, and note where one was forbidden.

        Args:
            columns: The tokens, T arrays of shape (B,).
            is_playing: As for `step`.
            rewards: Changed in place, shape (B,).
            is_forbidden: Changed in place, shape (B,).

        Returns:
            Whether each row's episode has ended, shape (B,).
        """
        # Where several tokens are paid at once, only their sum is seen, and that is the score's.
        is_shaped = self._is_shaped and len(columns) == 1
        is_over = np.zeros(self.num_envs, dtype=np.bool_)
        for column, tokens in enumerate(columns):
            ended, forbidden = self._append(tokens, is_playing)
            if forbidden is not None:
                is_forbidden |= forbidden
            if self._pays_steps or is_shaped:
                is_appended = without(is_playing, forbidden)
                rows = list(range(self.num_envs)) if is_appended is None else np.flatnonzero(is_appended).tolist()
                if self._pays_steps:
                    self._pay_step(rewards, rows)
                if is_shaped:
                    self._pay_progress(rewards, [row for row in rows if not ended[row]])
                    if forbidden is not None:
                        # The text is what it was, and so is its potential, a step nearer to the end.
                        stays = forbidden & ~ended
                        rewards[stays] += (self._shaping_gamma - 1) * self._paid[stays]
            is_over |= ended
            if column + 1 < len(columns) and np.count_nonzero(ended):
                is_playing = ~is_over if is_playing is None else is_playing & ~is_over
                if not is_playing.any():
                    break
        return is_over

    def _append(self, tokens: Array, is_playing: BoolArray | None) -> tuple[BoolArray, BoolArray | None]:
        """Append a token to each row, or only use up budget where it is forbidden.

        Returns:
            Which rows end with it, and where it was forbidden, None for nowhere; shape (B,) each.
        """
        kinds = self._kinds[as_numpy(tokens)]
        if not len(kinds.nonzero()[0]):
            return self.contexts.append(tokens, is_playing, None), None
        if is_playing is not None:
            kinds *= is_playing
        forbidden = self._forbidden(kinds)
        ended = self.contexts.append(tokens, is_playing, forbidden)
        if forbidden is not None:
            kinds[forbidden] = _FORBIDDEN
        rows = (kinds == _MAY_STOP).nonzero()[0].tolist()
        for row, ids in zip(rows, self.contexts.generated_ids(rows), strict=True):
            if self.task.stop_length(ids, len(ids) - 1) is not None:
                ended[row] = True
        ended[kinds == _EOS] = True
        return ended, forbidden

    def _forbidden(self, kinds: npt.NDArray[np.uint8]) -> BoolArray | None:
        is_forbidden: BoolArray = kinds == _FORBIDDEN
        if self.task.min_new_tokens:
            is_forbidden |= (kinds == _EOS) & (self.contexts.n_generated < self.task.min_new_tokens)
        return is_forbidden if np.count_nonzero(is_forbidden) else None

    def _pay_step(self, rewards: FloatArray, rows: list[int]) -> None:
        prefixes = [self.task.completion_text(ids) for ids in self.contexts.generated_ids(rows)]
        if rows:
            rewards[rows] += self.task.step_rewards([self.prompt(row) for row in rows], prefixes)

    def _pay_progress(self, rewards: FloatArray, rows: list[int]) -> None:
        """Pay what the token added to a shaped score; where the text is finished, its score says that."""
        ids = self.contexts.generated_ids(rows)
        prefixes = [
            self.task.finish(self.prompt(row), row_ids, "length") for row, row_ids in zip(rows, ids, strict=True)
        ]
        if rows:
            potentials = np.array(self.task.shaping_potentials(prefixes))
            rewards[rows] += self._shaping_gamma * potentials - self._paid[rows]
            self._paid = self._paid.copy()  # the old ones come back where the reward fails
            self._paid[rows] = potentials

    def _judge(self, rows: npt.NDArray[np.int64], is_forbidden: BoolArray) -> Endings:
        """Judge the N rows that have ended, given whether an action of the last step was forbidden; shape (N,) each."""
        episodes = self.task.finish_all(
            [self.task.prompts[prompt] for prompt in self.schedule.current[rows].tolist()],
            self.contexts.generated_ids(rows),
        )
        return judge(self.task, rows, episodes, is_forbidden)


def _kinds_of_tokens(task: TextTask) -> npt.NDArray[np.uint8]:
    """Return the kind of each token of the vocabulary, shape (V,)."""
    kinds = np.full(task.vocab_size, _PLAIN, dtype=np.uint8)
    if task.stop:
        kinds[task.may_stop.numpy()] = _MAY_STOP
    kinds[task.eos_token_id] = _EOS
    kinds[~task.is_allowed.numpy()] = _FORBIDDEN
    return kinds
