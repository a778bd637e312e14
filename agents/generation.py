"""Whole episodes, in order: rows that finish are refilled with the next prompts.

One function serves rollouts, off-policy collection and evaluation. What it generates is a function of policy, task,
seed and episode number alone, whatever the number of rows and of steps that the device runs ahead of the host.
"""

import heapq
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from textgym.episodes import FinishedEpisode, FinishReason
from textgym.prompts import Prompt
from textgym.task import TextTask

from .decoder import SAMPLED, Decoder, Sampling
from .host_copies import to_device
from .language_policy import LanguagePolicy
from .ranges import joined_ranges
from .sampling import episode_uniforms, prompt_generator
from .term_watch import is_spoilt
from .token_rules import token_rules


@dataclass(frozen=True, eq=False)
class GeneratedEpisode:
    """A finished episode and what the policy said of it, T generated tokens.

    Attributes:
        number: Position in the order of start.
        task: What it is an episode of; None in a copy, which has the text.
        prompt: Its prompt.
        token_ids: Generated tokens, length T.
        finish_reason: Why it ended.
        log_prob: Log-probability of each token when it was sampled, shape (T,), on the policy's device.
        values: Critic's value before each token, shape (T,), on the policy's device.
        candidates: What each token was chosen among, shape (T, ⌈V / 8⌉), see `LanguagePolicy.candidates`; None for all
            that the environment allows.
        is_finite: Whether `log_prob` holds neither NaN nor infinity.
    """

    number: int
    task: TextTask | None = field(repr=False)
    prompt: Prompt
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    log_prob: Tensor
    values: Tensor
    candidates: Tensor | None = None
    is_finite: bool = True

    @cached_property
    def text(self) -> FinishedEpisode:
        """The episode as the task sees it; its tokens are decoded by whoever first asks for it."""
        # A copy, which has no task, has been given its text.
        return cast(TextTask, self.task).finish(self.prompt, self.token_ids, self.finish_reason)

    def __getstate__(self) -> dict[str, Any]:
        """Let copies and pickles have the text and not the task, whose reward may be a function of any kind."""
        return {**vars(self), "text": self.text, "task": None}


class _EndedRow(NamedTuple):
    row: int
    token_ids: list[int]
    reason: FinishReason


# Once no prompt is left to refill with, rows are dropped when this share of them still runs.
COMPACT_BELOW = 0.8


def generate_episodes(
    policy: LanguagePolicy,
    task: TextTask,
    episodes: range,
    *,
    seed: int,
    num_rows: int = 128,
    lookahead: int | None = None,
    sampling: Sampling = SAMPLED,
    is_static: bool | None = None,
) -> Iterator[GeneratedEpisode]:
    """Generate the episodes of the given numbers and yield them in order of number.

    Args:
        policy: Chooses the tokens. Its training mode is left as it is.
        task: Gives prompts and rules.
        episodes: Numbers of the episodes; K successive ones share a prompt where `task.completions_per_prompt` is K.
        seed: With its number, decides all of an episode's random numbers.
        num_rows: Episodes that are decoded side by side.
        lookahead: Steps between two looks of the host at what has ended; None for 4 on the CPU and 16 elsewhere.
        sampling: How tokens are chosen.
        is_static: Use tensors of fixed shape throughout; None for no on the CPU, and yes elsewhere, where on CUDA a
            step is then captured as a graph.

    Yields:
        Finished episodes, each of them whole.

    Raises:
        ValueError: If the policy was made for other token rules than the task's.
    """
    looks = generate_looks(
        policy,
        task,
        episodes,
        seed=seed,
        num_rows=num_rows,
        lookahead=lookahead,
        sampling=sampling,
        is_static=is_static,
    )
    return chain.from_iterable(looks)


@torch.no_grad()
def generate_looks(
    policy: LanguagePolicy,
    task: TextTask,
    episodes: range,
    *,
    seed: int,
    num_rows: int,
    lookahead: int | None = None,
    sampling: Sampling = SAMPLED,
    is_static: bool | None = None,
) -> Generator[list[GeneratedEpisode]]:
    """Generate as `generate_episodes` does, and yield at each look of the host the episodes that are due, if any."""
    _check_rules(policy, task)
    on_cpu = policy.device.type == "cpu"
    lookahead = (4 if on_cpu else 16) if lookahead is None else lookahead
    is_static = not on_cpu if is_static is None else is_static
    num_rows = min(num_rows, len(episodes))
    if num_rows == 0:
        return
    decoder = Decoder(policy, task, num_rows, sampling, is_static)
    waiting = iter(episodes)
    playing: dict[int, tuple[int, Prompt]] = {}
    free = list(range(num_rows))
    finished: list[tuple[int, GeneratedEpisode]] = []
    due = iter(episodes)
    due_number = next(due)
    checked = dict.fromkeys(range(num_rows), 0)
    while True:
        started = [(row, number) for row, number in zip(free, waiting, strict=False)]
        if started:
            prompts = [_prompt(task, seed, number) for _, number in started]
            draws = episode_uniforms(seed, [number for _, number in started], task.max_new_tokens)
            decoder.start([row for row, _ in started], [prompt.token_ids for prompt in prompts], draws)
            for (row, number), prompt in zip(started, prompts, strict=True):
                playing[row] = (number, prompt)
                checked[row] = 0
        if not playing:
            return
        if is_static and policy.device.type == "cuda" and decoder.graph is None:
            decoder.capture()
        if not is_static and not started and len(playing) <= COMPACT_BELOW * decoder.cache.num_rows:
            rows = sorted(playing)
            decoder.keep_rows(rows)
            playing = {new: playing[old] for new, old in enumerate(rows)}
            checked = {new: checked[old] for new, old in enumerate(rows)}
        decoder.run(lookahead)
        ended = _ended_rows(decoder, task, playing, checked)
        for episode in _finished(decoder, task, playing, ended):
            heapq.heappush(finished, (episode.number, episode))
        free = [item.row for item in ended]
        look = []
        while finished and finished[0][0] == due_number:
            look.append(heapq.heappop(finished)[1])
            due_number = next(due, -1)
        yield look


def _check_rules(policy: LanguagePolicy, task: TextTask) -> None:
    if policy.token_rules != token_rules(task):
        raise ValueError(
            f"The policy allows other tokens than the task: it was made for {policy.token_rules}, the task has "
            f"{token_rules(task)}. Make the policy with token_rules(task), or the task with the policy's rules; "
            "an algorithm goes on with another task by load(path, env=…)."
        )


def _ended_rows(
    decoder: Decoder, task: TextTask, playing: dict[int, tuple[int, Prompt]], checked: dict[int, int]
) -> list[_EndedRow]:
    """Find rows that have ended, with their tokens and the reason; one look at the device, and one copy if any has."""
    state = torch.stack([decoder.n_generated, decoder.is_running.long()]).tolist()
    ended: list[_EndedRow] = []
    rows_to_read = sorted(playing) if task.stop else [row for row in sorted(playing) if not state[1][row]]
    if not rows_to_read:
        return ended
    for row, row_tokens in zip(rows_to_read, decoder.token_ids[rows_to_read].tolist(), strict=True):
        token_ids = row_tokens[: state[0][row]]
        stopped_at = task.stop_length(token_ids, checked[row]) if task.stop else None
        checked[row] = len(token_ids)
        if stopped_at is not None:
            ended.append(_EndedRow(row, token_ids[:stopped_at], "stop"))
        elif not state[1][row]:
            ended.append(_EndedRow(row, token_ids, "eos" if token_ids[-1] == task.eos_token_id else "length"))
    stopped = [item.row for item in ended if item.reason == "stop"]
    if stopped:
        decoder.is_running[stopped] = False
    return ended


def _finished(
    decoder: Decoder, task: TextTask, playing: dict[int, tuple[int, Prompt]], ended: list[_EndedRow]
) -> Iterator[GeneratedEpisode]:
    """Take episodes that have ended from what is played: one copy for all of what the policy said of each."""
    if not ended:
        return
    lengths = [len(item.token_ids) for item in ended]
    first = np.zeros(len(ended), dtype=np.int64)
    places = np.stack([np.repeat([item.row for item in ended], lengths), joined_ranges(first, np.array(lengths))])
    rows, columns = to_device(torch.from_numpy(places), decoder.log_prob.device)
    log_prob, values, candidates = (
        part[rows, columns].split(lengths) for part in (decoder.log_prob, decoder.values, decoder.candidates)
    )
    # One question to the device, unless the answer is bad.
    is_finite = [True] * len(ended)
    if is_spoilt(torch.cat(log_prob)):
        is_finite = [not is_spoilt(part) for part in log_prob]
    for index, (row, token_ids, reason) in enumerate(ended):
        number, prompt = playing.pop(row)
        if decoder.cache.record is not None:
            decoder.cache.record.end_text(row, prompt.token_ids, token_ids)
        yield GeneratedEpisode(
            number,
            task,
            prompt,
            tuple(token_ids),
            reason,
            log_prob[index],
            values[index],
            # Apart, since one episode that is kept would keep those of all rows, which are large.
            candidates[index].clone() if decoder.policy.candidate_bytes else None,
            is_finite[index],
        )


def _prompt(task: TextTask, seed: int, number: int) -> Prompt:
    """Return the prompt of an episode, the same for all episodes of a group."""
    group = number // task.completions_per_prompt
    if task.prompt_order == "sequential":
        return task.prompts[group % len(task.prompts)]
    (index,) = task.prompt_indices(prompt_generator(seed, group), 1)
    return task.prompts[index]
