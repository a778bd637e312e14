"""The one state machine behind every door: B token-level MDPs as tensors on one device, and no loop over them.

A door (`TextGenEnv`, `TextGenVectorEnv`, `TextGenVecEnv`, ...) checks actions, calls `step` and `begin`, and puts the
result into the shape of its interface. Python work for a single row happens only where that row's episode ends (its
text is decoded and judged), where a token may complete a stop string, or where the reward pays at each step.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from gymnasium.error import ResetNeeded
from torch import Tensor

from .prompt_schedule import PromptSchedule
from .prompts import Prompt
from .reward_protocol import StepReward
from .stop_strings import tokens_that_may_stop
from .task import FinishedEpisode, FinishReason, Judgement, TextTask

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


class Contexts(NamedTuple):
    """State of B rows. Every step makes a new one, so that a step that fails has changed nothing.

    Attributes:
        token_ids: Prompt, generated tokens, padding, shape (B, C).
        prompt_length: Tokens of the prompt, shape (B,).
        n_generated: Tokens generated, shape (B,).
        n_used: Tokens of the budget used up: `n_generated` and one for each forbidden action, shape (B,).
    """

    token_ids: Tensor
    prompt_length: Tensor
    n_generated: Tensor
    n_used: Tensor


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


class TextCore:
    """Plays B episodes of a task at a time.

    Args:
        task: The rules.
        num_envs: Number of rows B, 1 or a multiple of `task.completions_per_prompt`.
        device: Where the contexts live.

    Attributes:
        schedule: Which prompt comes next in each row.
        is_over: True for each row that has to be begun before it can be stepped, shape (B,).
        endings: The `info` of each row that is over, by row.
    """

    def __init__(self, task: TextTask, num_envs: int = 1, device: str | torch.device = "cpu") -> None:
        self.task = task
        self.schedule = PromptSchedule(task, num_envs)
        self.num_envs = int(num_envs)
        self.device = torch.device(device)
        self.is_over = np.ones(self.num_envs, dtype=np.bool_)
        self.endings: dict[int, dict[str, Any]] = {}
        self._pays_steps = isinstance(task.reward, StepReward)
        self._is_allowed = task.is_allowed.to(self.device)
        self._may_stop = tokens_that_may_stop(task).to(self.device) if task.stop else None
        self._position = torch.arange(task.context_length, device=self.device)
        self._prompt_ids, self._prompt_lengths = self._prompts_as_tensors()
        zeros = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)
        empty = torch.full((self.num_envs, task.context_length), task.pad_token_id, device=self.device)
        self._contexts = Contexts(empty, zeros, zeros, zeros)

    @property
    def contexts(self) -> Contexts:
        """The rows' state, not to be changed in place."""
        return self._contexts

    def begin(self, rows: npt.NDArray[np.int64] | Sequence[int] | None = None) -> None:
        """Start the next episode in some rows, or in all."""
        rows = np.arange(self.num_envs) if rows is None else np.asarray(rows)
        for row in rows.tolist():
            self.schedule.advance(row)
            self.endings.pop(row, None)
        self.is_over[rows] = False
        row_ids = torch.as_tensor(rows, device=self.device)
        prompts = torch.as_tensor(self.schedule.current[rows], device=self.device)
        self._contexts = Contexts(
            self._contexts.token_ids.index_copy(0, row_ids, self._prompt_ids[prompts]),
            self._contexts.prompt_length.index_copy(0, row_ids, self._prompt_lengths[prompts]),
            self._contexts.n_generated.index_fill(0, row_ids, 0),
            self._contexts.n_used.index_fill(0, row_ids, 0),
        )

    def step(self, actions: Tensor, is_playing: BoolArray | None = None) -> StepResult:
        """Append one token to each row.

        Args:
            actions: Token ids within the vocabulary, int64 on the core's device, shape (B,).
            is_playing: False for rows to be left alone; None for all True. Shape (B,).

        Raises:
            ResetNeeded: If a row that should play is over.
            RewardError: If the reward fails; then nothing has changed.
        """
        return self.play(actions.unsqueeze(1), is_playing)

    def play(self, actions: Tensor, is_playing: BoolArray | None = None) -> StepResult:
        """Append several tokens to each row, until its episode ends; what is left of a row's actions is ignored.

        Args:
            actions: Token ids within the vocabulary, int64 on the core's device, shape (B, T).
            is_playing: As for `step`.

        Returns:
            The result, with the rewards of all T tokens summed.

        Raises:
            ResetNeeded: If a row that should play is over.
            RewardError: If the reward fails; then nothing has changed.
        """
        playing = np.ones(self.num_envs, dtype=np.bool_) if is_playing is None else is_playing.copy()
        self._check_playable(playing)
        contexts = self._contexts
        rewards = np.zeros(self.num_envs)
        is_forbidden = np.zeros(self.num_envs, dtype=np.bool_)
        reasons: dict[int, FinishReason] = {}
        for tokens in actions.unbind(1):
            contexts, forbidden, ended = self._append(contexts, tokens, playing)
            is_forbidden |= forbidden
            if self._pays_steps:
                self._pay_step(rewards, contexts, playing & ~forbidden)
            reasons.update(ended)
            playing[list(ended)] = False
            if not playing.any():
                break
        rows = sorted(reasons)
        endings = self._judge(contexts, rows, reasons)
        for row, ending in endings.items():
            rewards[row] += ending["score"]
            if is_forbidden[row]:
                ending["forbidden_action"] = True
        is_over = np.zeros(self.num_envs, dtype=np.bool_)
        is_over[rows] = True
        self._contexts = contexts
        self.is_over |= is_over
        self.endings.update(endings)
        return StepResult(rewards, is_over, is_forbidden, endings)

    def observation(self) -> dict[str, Tensor]:
        """Return the rows' contexts as fresh tensors, each of shape (B, C); see `TextGenEnv`'s observation space."""
        contexts = self._contexts
        start = contexts.prompt_length.unsqueeze(1)
        return {
            "input_ids": contexts.token_ids.clone(),
            "attention_mask": (self._position < start + contexts.n_generated.unsqueeze(1)).to(torch.int8),
            "is_generated": ((self._position >= start) & (self._position < start + contexts.n_used.unsqueeze(1))).to(
                torch.int8
            ),
        }

    def action_masks(self) -> Tensor:
        """Tell which tokens each row may append next, shape (B, V)."""
        return self.task.allowed_mask(self._contexts.n_generated)

    def check_begun(self, rows: Sequence[int] | None = None) -> None:
        """Raise ResetNeeded if one of some rows, or of all, has never been begun."""
        current = self.schedule.current if rows is None else self.schedule.current[list(rows)]
        if (current < 0).any():
            raise ResetNeeded("There is no episode yet; call reset() first.")

    def texts(self, rows: Sequence[int]) -> list[tuple[str, str]]:
        """Return prompt and completion so far of some rows."""
        self.check_begun(rows)
        ids = self._generated_ids(self._contexts, rows)
        return [(self._prompt(row).text, self.task.completion_text(next(ids))) for row in rows]

    def _append(
        self, contexts: Contexts, tokens: Tensor, playing: BoolArray
    ) -> tuple[Contexts, BoolArray, dict[int, FinishReason]]:
        task = self.task
        is_eos = tokens == task.eos_token_id
        is_allowed = self._is_allowed[tokens]
        if task.min_new_tokens:
            is_allowed = is_allowed & ~(is_eos & (contexts.n_generated < task.min_new_tokens))
        is_playing = None if playing.all() else torch.as_tensor(playing, device=self.device)
        is_appended = is_allowed if is_playing is None else is_allowed & is_playing
        # A row that is over may have filled its context to the last position.
        end = (contexts.prompt_length + contexts.n_generated).clamp(max=task.context_length - 1).unsqueeze(1)
        kept = contexts.token_ids.gather(1, end).squeeze(1)
        contexts = Contexts(
            contexts.token_ids.scatter(1, end, torch.where(is_appended, tokens, kept).unsqueeze(1)),
            contexts.prompt_length,
            contexts.n_generated + is_appended,
            contexts.n_used + (1 if is_playing is None else is_playing),
        )
        may_stop = torch.zeros_like(is_eos) if self._may_stop is None else self._may_stop[tokens]
        # One copy to the host a step, whatever the device.
        flags = torch.stack([is_eos, ~is_allowed, may_stop, contexts.n_used >= task.max_new_tokens]).cpu().numpy()
        eos, forbidden, stop, spent = flags & playing
        reasons: dict[int, FinishReason] = dict.fromkeys(np.flatnonzero(spent).tolist(), "length")
        rows = np.flatnonzero(stop & ~forbidden).tolist()
        for row, ids in zip(rows, self._generated_ids(contexts, rows), strict=True):
            if task.stop_length(ids, len(ids) - 1) is not None:
                reasons[row] = "stop"
        for row in np.flatnonzero(eos & ~forbidden).tolist():
            reasons[row] = "eos"
        return contexts, forbidden, reasons

    def _pay_step(self, rewards: FloatArray, contexts: Contexts, is_paid: BoolArray) -> None:
        rows = np.flatnonzero(is_paid).tolist()
        prefixes = [self.task.completion_text(ids) for ids in self._generated_ids(contexts, rows)]
        if rows:
            rewards[rows] += self.task.step_rewards([self._prompt(row) for row in rows], prefixes)

    def _judge(
        self, contexts: Contexts, rows: list[int], reasons: dict[int, FinishReason]
    ) -> dict[int, dict[str, Any]]:
        episodes = [
            self.task.finish(self._prompt(row), ids, reasons[row])
            for row, ids in zip(rows, self._generated_ids(contexts, rows), strict=True)
        ]
        judgements = self.task.score(episodes)
        infos = [_info(episode, judgement) for episode, judgement in zip(episodes, judgements, strict=True)]
        return dict(zip(rows, infos, strict=True))

    def _generated_ids(self, contexts: Contexts, rows: Sequence[int]) -> Iterator[list[int]]:
        if not rows:
            return
        row_ids = torch.as_tensor(rows, device=self.device)
        token_ids = contexts.token_ids[row_ids].tolist()
        starts = contexts.prompt_length[row_ids].tolist()
        lengths = contexts.n_generated[row_ids].tolist()
        for ids, start, length in zip(token_ids, starts, lengths, strict=True):
            yield ids[start : start + length]

    def _prompt(self, row: int) -> Prompt:
        return self.task.prompts[int(self.schedule.current[row])]

    def _prompts_as_tensors(self) -> tuple[Tensor, Tensor]:
        task = self.task
        ids = np.full((len(task.prompts), task.context_length), task.pad_token_id, dtype=np.int64)
        for row, prompt in zip(ids, task.prompts, strict=True):
            row[: len(prompt.token_ids)] = prompt.token_ids
        lengths = np.array([len(prompt.token_ids) for prompt in task.prompts], dtype=np.int64)
        return torch.from_numpy(ids).to(self.device), torch.from_numpy(lengths).to(self.device)

    def _check_playable(self, playing: BoolArray) -> None:
        over = np.flatnonzero(playing & self.is_over)
        if not over.size:
            return
        self.check_begun(over.tolist())
        if self.num_envs == 1:
            raise ResetNeeded("The episode has ended; call reset() before the next step().")
        raise ResetNeeded(
            f"The episodes of rows {over.tolist()} have ended; begin new ones by "
            "reset(options={'reset_mask': ...}) before the next step()."
        )


def _info(episode: FinishedEpisode, judgement: Judgement) -> dict[str, Any]:
    info: dict[str, Any] = {
        "prompt": episode.prompt.text,
        "completion": episode.text,
        "finish_reason": episode.finish_reason,
        "n_tokens": len(episode.token_ids),
        "score": judgement.score,
    }
    for name, value in judgement.terms.items():
        if value is not None:
            info[f"reward/{name}"] = value
    if judgement.token_rewards is not None:
        info["token_rewards"] = judgement.token_rewards
    return info
