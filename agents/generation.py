"""Whole episodes, decoded with a key-value cache; rows that finish are refilled with the next prompts.

One function serves rollouts, off-policy collection and evaluation. What it generates is a function of policy, task,
seed and episode number alone, whatever the number of rows and of steps that the device runs ahead of the host.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from textgym.prompts import Prompt
from textgym.task import FinishedEpisode, FinishReason, TextTask

from .language_policy import LanguagePolicy
from .sampling import episode_uniforms, prompt_generator
from .token_rules import token_rules


class GeneratedEpisode(NamedTuple):
    """A finished episode and what the policy said of it, T generated tokens.

    Attributes:
        number: Position in the order of start.
        text: The episode as the task sees it.
        log_prob: Log-probability of each token when it was sampled, shape (T,), on the policy's device.
        values: Critic's value before each token, shape (T,), on the policy's device.
        candidates: What each token was chosen among, shape (T, ⌈V / 8⌉), see `LanguagePolicy.candidates`; None for all
            that the environment allows.
    """

    number: int
    text: FinishedEpisode
    log_prob: Tensor
    values: Tensor
    candidates: Tensor | None = None


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen.

    Attributes:
        deterministic: Always the most probable token.
        top_k: Only the k most probable tokens; None for all.
        top_p: Only the smallest set with this probability; None for all.
    """

    deterministic: bool = False
    top_k: int | None = None
    top_p: float | None = None


SAMPLED = Sampling()
# Once no prompt is left to refill with, rows are dropped when this share of them still runs.
COMPACT_BELOW = 0.8


class DecodingLimits(Protocol):
    """What decoding needs to know of a task."""

    @property
    def context_length(self) -> int:
        """Tokens that prompt and completion have at most, together."""

    @property
    def max_new_tokens(self) -> int:
        """Tokens that a completion has at most."""

    @property
    def pad_token_id(self) -> int:
        """What stands behind a prompt."""

    @property
    def eos_token_id(self) -> int:
        """What ends a completion."""


class Decoder:
    """B rows that are decoded side by side; all state lies on the policy's device, in tensors of fixed shape.

    Args:
        policy: Chooses the tokens.
        task: Gives lengths and the end-of-sequence token.
        num_rows: Rows B.
        sampling: How tokens are chosen.
        is_static: Attend over the whole context at every step, so that no shape ever changes, which CUDA graphs need.
            Otherwise attention reads no further than the longest row.
    """

    def __init__(
        self, policy: LanguagePolicy, task: DecodingLimits, num_rows: int, sampling: Sampling, is_static: bool
    ) -> None:
        device = policy.device
        self.policy, self.task, self.sampling, self.is_static = policy, task, sampling, is_static
        self.context_length = task.context_length
        n_tokens = task.max_new_tokens
        self.cache = policy.make_cache(num_rows, self.context_length)
        self.last_token = torch.zeros(num_rows, dtype=torch.long, device=device)
        self.position = torch.zeros(num_rows, dtype=torch.long, device=device)
        self.n_generated = torch.zeros(num_rows, dtype=torch.long, device=device)
        self.is_running = torch.zeros(num_rows, dtype=torch.bool, device=device)
        # The last column takes what rows write that have already ended.
        self.uniforms = torch.zeros((num_rows, n_tokens + 1), device=device)
        self.token_ids = torch.zeros((num_rows, n_tokens + 1), dtype=torch.long, device=device)
        self.log_prob = torch.zeros((num_rows, n_tokens + 1), device=device)
        self.values = torch.zeros((num_rows, n_tokens + 1), device=device)
        self.candidates = torch.zeros(
            (num_rows, n_tokens + 1, policy.candidate_bytes), dtype=torch.uint8, device=device
        )
        self.graph: torch.cuda.CUDAGraph | None = None

    def start(self, rows: Sequence[int], prompts: Sequence[Sequence[int]], uniforms: np.ndarray) -> None:
        """Put new prompts' tokens, one prompt a row, and random numbers, shape (R, T), into rows that are free."""
        device = self.position.device
        index = torch.tensor(rows, device=device)
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        width = int(lengths.max())
        padded = torch.full((len(rows), width), self.task.pad_token_id)
        for row, prompt in enumerate(prompts):
            padded[row, : len(prompt)] = torch.tensor(prompt)
        if width > 1:
            # The prompt's last token is left to the first decoding step, which chooses the token after it.
            positions = torch.arange(width - 1, device=device).expand(len(rows), -1)
            self.policy.cached_hidden_states(padded[:, :-1].to(device), positions, self.cache, index, width - 1)
        self.last_token[index] = padded.gather(1, lengths[:, None] - 1)[:, 0].to(device)
        self.position[index] = (lengths - 1).to(device)
        self.n_generated[index] = 0
        self.is_running[index] = True
        self.uniforms[index, : self.task.max_new_tokens] = torch.from_numpy(uniforms).to(device)

    def step(self) -> None:
        """Generate one token in every running row."""
        attended = None if self.is_static else int(self.position.max()) + 1
        hidden = self.policy.cached_hidden_states(
            self.last_token[:, None], self.position[:, None], self.cache, attended_length=attended
        )[:, 0]  # (B, D)
        column = torch.where(self.is_running, self.n_generated, self.task.max_new_tokens)[:, None]
        candidates = self.policy.candidates(hidden, self.n_generated)
        token, log_prob = self.policy.choose(
            hidden,
            self.n_generated,
            self.uniforms.gather(1, column)[:, 0],
            self.sampling.deterministic,
            self.sampling.top_k,
            self.sampling.top_p,
            candidates,
        )
        if candidates is not None:
            self.candidates.scatter_(1, column[:, :, None].expand(-1, -1, candidates.shape[1]), candidates[:, None])
        self.token_ids.scatter_(1, column, token[:, None])
        self.log_prob.scatter_(1, column, log_prob[:, None])
        self.values.scatter_(1, column, self.policy.values_of(hidden)[:, None])
        self.n_generated += self.is_running
        self.position += self.is_running
        self.last_token.copy_(token)
        self.is_running &= (token != self.task.eos_token_id) & (self.n_generated < self.task.max_new_tokens)
        # A row that has ended stands still inside the context until it is refilled.
        self.position.clamp_(max=self.context_length - 1)

    def run(self, n_steps: int) -> None:
        """Generate up to `n_steps` tokens in every running row, without asking the device in between."""
        for _ in range(n_steps):
            if self.graph is None:
                self.step()
            else:
                self.graph.replay()

    def capture(self) -> None:
        """Record one step as a CUDA graph, to be replayed without launching kernel by kernel."""
        saved = {name: tensor.clone() for name, tensor in self._state().items()}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.step()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.step()
        for name, tensor in self._state().items():
            tensor.copy_(saved[name])

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Drop all rows but the given ones, which become rows 0 to R - 1."""
        index = torch.tensor(rows, device=self.position.device)
        self.cache.keep_rows(index)
        for name, tensor in self._state().items():
            setattr(self, name, tensor[index])

    def _state(self) -> dict[str, Tensor]:
        names = ["last_token", "position", "n_generated", "is_running", "uniforms", "token_ids", "log_prob", "values"]
        names.append("candidates")
        return {name: getattr(self, name) for name in names}


@torch.no_grad()
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
    finished: list[GeneratedEpisode] = []
    due = iter(episodes)
    due_number = next(due)
    checked = dict.fromkeys(range(num_rows), 0)
    while True:
        started = [(row, number) for row, number in zip(free, waiting, strict=False)]
        if started:
            prompts = [_prompt(task, seed, number) for _, number in started]
            draws = np.stack([episode_uniforms(seed, number, task.max_new_tokens) for _, number in started])
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
        for row, length, reason in ended:
            number, prompt = playing.pop(row)
            token_ids = decoder.token_ids[row, :length].tolist()
            text = task.finish(prompt, token_ids, reason)
            log_prob, values = decoder.log_prob[row, :length].clone(), decoder.values[row, :length].clone()
            candidates = decoder.candidates[row, :length].clone() if policy.candidate_bytes else None
            heapq.heappush(finished, GeneratedEpisode(number, text, log_prob, values, candidates))
        free = [row for row, _, _ in ended]
        while finished and finished[0].number == due_number:
            yield heapq.heappop(finished)
            due_number = next(due, -1)


def _check_rules(policy: LanguagePolicy, task: TextTask) -> None:
    if policy.token_rules != token_rules(task):
        raise ValueError(
            f"The policy allows other tokens than the task: it was made for {policy.token_rules}, the task has "
            f"{token_rules(task)}. Make the policy with token_rules(task), or the task with the policy's rules."
        )


def _ended_rows(
    decoder: Decoder, task: TextTask, playing: dict[int, tuple[int, Prompt]], checked: dict[int, int]
) -> list[tuple[int, int, FinishReason]]:
    """Find rows that have ended, with the number of their tokens and the reason; one copy from the device."""
    state = torch.stack([decoder.n_generated, decoder.is_running.long()]).tolist()
    ended: list[tuple[int, int, FinishReason]] = []
    rows_to_read = sorted(playing) if task.stop else [row for row in sorted(playing) if not state[1][row]]
    if not rows_to_read:
        return ended
    tokens = decoder.token_ids[rows_to_read].cpu()
    for row, row_tokens in zip(rows_to_read, tokens, strict=True):
        length = state[0][row]
        stopped_at = task.stop_length(row_tokens[:length].tolist(), checked[row]) if task.stop else None
        checked[row] = length
        if stopped_at is not None:
            decoder.is_running[row] = False
            ended.append((row, stopped_at, "stop"))
        elif not state[1][row]:
            by_eos = int(row_tokens[length - 1]) == task.eos_token_id
            ended.append((row, length, "eos" if by_eos else "length"))
    return ended


def _prompt(task: TextTask, seed: int, number: int) -> Prompt:
    """Return the prompt of an episode, the same for all episodes of a group."""
    group = number // task.completions_per_prompt
    if task.prompt_order == "sequential":
        return task.prompts[group % len(task.prompts)]
    return task.prompts[task.prompt_index(prompt_generator(seed, group))]
