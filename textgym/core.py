"""The one state machine behind every door: B token-level MDPs as arrays on one device, and no loop over them.

A door (`TextGenEnv`, `TextGenVectorEnv`, `TextGenVecEnv`, ...) checks actions, calls `step` and `begin`, and puts the
result into the shape of its interface. Python work for a single row happens only where that row's episode ends (its
text is decoded and judged), where a token may complete a stop string, or where the reward pays on the way.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from gymnasium.error import ResetNeeded
from torch import Tensor

from .contexts import Array, Contexts, to_host
from .endings import judge
from .prompt_schedule import PromptSchedule
from .prompts import Prompt
from .reward_protocol import StepReward
from .shaping import asks_for_shaping
from .stop_strings import tokens_that_may_stop
from .task import FinishReason, TextTask

BoolArray = npt.NDArray[np.bool_]
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
    endings: dict[int, dict[str, Any]]


class _Rules(NamedTuple):
    """What the rules say of one token for each row, each of shape (B,).

    The first two lie on the device, None for all rows; `is_forbidden` and `may_stop` are None for no row. `may_end`
    tells whether any row's episode ends here, or has to be looked at to tell.
    """

    is_appended: Array | None
    is_playing: Array | None
    is_forbidden: BoolArray | None
    is_eos: BoolArray
    may_stop: BoolArray | None
    is_spent: BoolArray
    may_end: bool


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
        endings: The `info` of each row that is over, by row.
    """

    def __init__(self, task: TextTask, num_envs: int = 1, device: str | torch.device = "cpu") -> None:
        self.task = task
        self.schedule = PromptSchedule(task, num_envs)
        self.num_envs = int(num_envs)
        self.device = torch.device(device)
        self.contexts = Contexts(task, self.num_envs, self.device)
        self.is_over = np.ones(self.num_envs, dtype=np.bool_)
        self.endings: dict[int, dict[str, Any]] = {}
        self._pays_steps = isinstance(task.reward, StepReward)
        self._is_shaped = asks_for_shaping(task.reward)
        self._paid = np.zeros(self.num_envs)  # of the score that is shaped, how much each row has been paid
        self._is_allowed = self.contexts.array(task.is_allowed)
        self._may_stop = self.contexts.array(tokens_that_may_stop(task)) if task.stop else None

    def begin(self, rows: Sequence[int] | npt.NDArray[np.int64] | None = None) -> None:
        """Start the next episode in some rows, or in all."""
        row_ids = np.arange(self.num_envs) if rows is None else np.asarray(rows)
        for row in row_ids.tolist():
            self.schedule.advance(row)
            self.endings.pop(row, None)
        self.contexts.begin(row_ids, self.schedule.current[row_ids])
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
        return self.play(tokens[:, None], is_playing)

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
        self._check_playable(is_playing)
        playing = np.ones(self.num_envs, dtype=np.bool_) if is_playing is None else is_playing.copy()
        is_forbidden = np.zeros(self.num_envs, dtype=np.bool_)
        rewards = np.zeros(self.num_envs)
        reasons: dict[int, FinishReason] = {}
        # Where several tokens are paid at once, only their sum is seen, and that is the score's.
        is_shaped = self._is_shaped and tokens.shape[1] == 1
        pays_on_the_way = self._pays_steps or is_shaped
        before = self.contexts.state() if pays_on_the_way or tokens.shape[1] > 1 else None
        paid_before = self._paid.copy()
        try:
            for column in range(tokens.shape[1]):
                rules = self._apply_rules(tokens[:, column], playing)
                before = before or (self.contexts.state() if rules.may_end else None)
                self.contexts.append(tokens[:, column], rules.is_appended, rules.is_playing)
                if rules.is_forbidden is not None:
                    is_forbidden |= rules.is_forbidden
                ended = self._reasons(rules) if rules.may_end else {}
                if pays_on_the_way:
                    self._pay_on_the_way(rewards, playing, rules, ended if is_shaped else None)
                if ended:
                    reasons.update(ended)
                    playing[list(ended)] = False
                    if not playing.any():
                        break
            endings = self._judge(reasons)
        except BaseException:
            if before is not None:
                self.contexts.restore(before)
            self._paid = paid_before
            raise
        is_over = np.zeros(self.num_envs, dtype=np.bool_)
        for row, ending in endings.items():
            is_over[row] = self.is_over[row] = True
            rewards[row] += ending["score"] - self._paid[row]
            if is_forbidden[row]:
                ending["forbidden_action"] = True
        self.endings.update(endings)
        return StepResult(rewards, is_over, is_forbidden, endings)

    def observation(self) -> dict[str, Array]:
        """Return the rows' contexts as fresh arrays, each of shape (B, C); see `TextGenEnv`'s observation space."""
        return self.contexts.copy()

    def action_masks(self) -> Tensor:
        """Tell which tokens each row may append next, shape (B, V)."""
        return self.task.allowed_mask(torch.as_tensor(self.contexts.n_generated))

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
        current = self.schedule.current if rows is None else self.schedule.current[list(rows)]
        if (current < 0).any():
            raise ResetNeeded("There is no episode yet; call reset() first.")

    def _check_playable(self, is_playing: BoolArray | None) -> None:
        is_over = self.is_over if is_playing is None else self.is_over & is_playing
        if not is_over.any():
            return
        over = np.flatnonzero(is_over)
        self.check_begun(over.tolist())
        if self.num_envs == 1:
            raise ResetNeeded("The episode has ended; call reset() before the next step().")
        raise ResetNeeded(
            f"The episodes of rows {over.tolist()} have ended; begin new ones by "
            "reset(options={'reset_mask': ...}) before the next step()."
        )

    def _apply_rules(self, tokens: Array, playing: BoolArray) -> _Rules:
        task, contexts = self.task, self.contexts
        is_eos = tokens == task.eos_token_id
        flags = [is_eos, contexts.n_used >= task.max_new_tokens - 1]
        is_allowed = None
        if task.restricts_tokens:
            is_allowed = self._is_allowed[tokens]
            if task.min_new_tokens:
                is_allowed = is_allowed & ~(is_eos & (contexts.n_generated < task.min_new_tokens))
            flags.append(~is_allowed)
        if self._may_stop is not None:
            flags.append(self._may_stop[tokens])
        is_everywhere = bool(playing.all())
        is_eos, is_spent, *others = (flag if is_everywhere else flag & playing for flag in to_host(*flags))
        is_forbidden = others[0] if is_allowed is not None else None
        may_stop = others[-1] if self._may_stop is not None else None
        if is_forbidden is not None:
            is_eos = is_eos & ~is_forbidden
            may_stop = None if may_stop is None else may_stop & ~is_forbidden
        is_playing = None if is_everywhere else contexts.array(playing)
        may_end = bool(is_eos.any() or is_spent.any() or (may_stop is not None and may_stop.any()))
        return _Rules(_both(is_allowed, is_playing), is_playing, is_forbidden, is_eos, may_stop, is_spent, may_end)

    def _reasons(self, rules: _Rules) -> dict[int, FinishReason]:
        reasons: dict[int, FinishReason] = dict.fromkeys(np.flatnonzero(rules.is_spent).tolist(), "length")
        rows = [] if rules.may_stop is None else np.flatnonzero(rules.may_stop).tolist()
        for row, ids in zip(rows, self.contexts.generated_ids(rows), strict=True):
            if self.task.stop_length(ids, len(ids) - 1) is not None:
                reasons[row] = "stop"
        reasons.update(dict.fromkeys(np.flatnonzero(rules.is_eos).tolist(), "eos"))
        return reasons

    def _pay_on_the_way(
        self, rewards: FloatArray, playing: BoolArray, rules: _Rules, ended: dict[int, FinishReason] | None
    ) -> None:
        """Pay what is not paid at the end: step rewards, and unless `ended` is None a shaped score's growth."""
        is_paid = playing if rules.is_forbidden is None else playing & ~rules.is_forbidden
        if self._pays_steps:
            self._pay_step(rewards, is_paid)
        if ended is not None:
            self._pay_progress(rewards, is_paid, ended)

    def _pay_step(self, rewards: FloatArray, is_paid: BoolArray) -> None:
        rows = np.flatnonzero(is_paid).tolist()
        prefixes = [self.task.completion_text(ids) for ids in self.contexts.generated_ids(rows)]
        if rows:
            rewards[rows] += self.task.step_rewards([self.prompt(row) for row in rows], prefixes)

    def _pay_progress(self, rewards: FloatArray, is_paid: BoolArray, ended: dict[int, FinishReason]) -> None:
        """Pay what the token added to a shaped score; where the text is finished, its score says that."""
        rows = [row for row in np.flatnonzero(is_paid).tolist() if row not in ended]
        ids = self.contexts.generated_ids(rows)
        prefixes = [
            self.task.finish(self.prompt(row), row_ids, "length") for row, row_ids in zip(rows, ids, strict=True)
        ]
        if rows:
            potentials = np.array(self.task.shaping_potentials(prefixes))
            rewards[rows] += potentials - self._paid[rows]
            self._paid[rows] = potentials

    def _judge(self, reasons: dict[int, FinishReason]) -> dict[int, dict[str, Any]]:
        if not reasons:
            return {}
        rows = sorted(reasons)
        episodes = [
            self.task.finish(self.prompt(row), ids, reasons[row])
            for row, ids in zip(rows, self.contexts.generated_ids(rows), strict=True)
        ]
        return dict(zip(rows, judge(self.task, episodes), strict=True))


def _both(first: Array | None, second: Array | None) -> Array | None:
    if first is None or second is None:
        return first if second is None else second
    return first & second
