"""Rows of tokens that are decoded side by side with a key-value cache: started, stepped, captured, dropped."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .cpu_step import cpu_step
from .host_copies import to_device
from .language_policy import LanguagePolicy
from .model_limits import check_context, check_tokens
from .step_graph import StepGraph


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
        check_context(policy.language_model.config, task.context_length)
        self.context_length = task.context_length
        n_tokens = task.max_new_tokens
        self.cache = policy.make_cache(num_rows, self.context_length)
        self.head = policy.make_decoding_head(num_rows)
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
        self.on_cpu = cpu_step(device, torch.float32)
        self.graph: StepGraph | None = None

    def start(self, rows: Sequence[int], prompts: Sequence[Sequence[int]], uniforms: np.ndarray) -> None:
        """Put new prompts' tokens, one prompt a row, and random numbers, shape (R, T), into rows that are free."""
        device = self.position.device
        lengths = np.array([len(prompt) for prompt in prompts])
        width = int(lengths.max())
        end_to_end = np.fromiter(chain.from_iterable(prompts), dtype=np.int64)
        check_tokens(self.policy.language_model.config, end_to_end)
        tokens = np.full((len(rows), width), self.task.pad_token_id)
        tokens[np.arange(width) < lengths[:, None]] = end_to_end
        padded, last_position = torch.from_numpy(tokens), torch.from_numpy(lengths - 1)
        last_token = padded.gather(1, last_position[:, None])[:, 0]
        row_ids = torch.tensor(rows)
        # Of completions of one prompt the first row reads it, and the others get what was cached of it.
        reader_of = _first_of_equals(prompts)
        readers = [number for number, reader in enumerate(reader_of) if number == reader]
        others = [number for number, reader in enumerate(reader_of) if number != reader]
        index, last_token, last_position = to_device(torch.stack([row_ids, last_token, last_position]), device)
        reading, to_read = to_device(row_ids[readers], device), to_device(padded[readers, :-1], device)
        of_others = torch.stack([row_ids[reader_of], row_ids, torch.from_numpy(lengths - 1)])[:, others]
        source, target, n_copied = to_device(of_others, device)
        self.uniforms[index, : self.task.max_new_tokens] = to_device(torch.from_numpy(uniforms), device)
        self.last_token[index] = last_token
        self.position[index] = last_position
        self.n_generated[index] = 0
        self.is_running[index] = True
        self.cache.begin(index)
        if width > 1:
            # The prompt's last token is left to the first decoding step, which chooses the token after it.
            positions = torch.arange(width - 1, device=device).expand(len(readers), -1)
            self.policy.cached_hidden_states(to_read, positions, self.cache, reading, width - 1)
        if width > 1 and others:
            self.cache.copy_rows(source, target, n_copied, width - 1)

    def step(self) -> None:
        """Generate one token in every running row."""
        attended = None if self.is_static or self.cache.knows_ends else int(self.position.max()) + 1
        hidden = self.policy.cached_hidden_states(
            self.last_token[:, None], self.position[:, None], self.cache, attended_length=attended
        )[:, 0]  # (B, D)
        with self.policy.decoding_with(self.head, self.cache.record):
            candidates = self.policy.candidates(hidden, self.n_generated)
            token, log_prob = self.policy.choose(
                hidden,
                self.n_generated,
                self.uniforms.gather(1, self.n_generated[:, None])[:, 0],
                self.sampling.deterministic,
                self.sampling.top_k,
                self.sampling.top_p,
                candidates,
            )
        values = self.policy.values_of(hidden)
        if candidates is not None:
            column = self._next_column()[:, :, None].expand(-1, -1, candidates.shape[1])
            self.candidates.scatter_(1, column, candidates[:, None])
        if self.on_cpu is not None:
            tables = self.token_ids, self.log_prob, self.values
            state = self.n_generated, self.position, self.last_token, self.is_running
            limits = self.context_length, self.task.eos_token_id
            self.on_cpu.advance(token, log_prob, values, *tables, *state, *limits)
            return
        column = self._next_column()
        self.token_ids.scatter_(1, column, token[:, None])
        self.log_prob.scatter_(1, column, log_prob[:, None])
        self.values.scatter_(1, column, values[:, None])
        self.n_generated += self.is_running
        self.position += self.is_running
        self.last_token.copy_(token)
        self.is_running &= (token != self.task.eos_token_id) & (self.n_generated < self.task.max_new_tokens)
        # A row that has ended stands still inside the context until it is refilled.
        self.position.clamp_(max=self.context_length - 1)

    def _next_column(self) -> Tensor:
        """Return where each row's next token is written, shape (B, 1)."""
        return torch.where(self.is_running, self.n_generated, self.task.max_new_tokens)[:, None]

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
        # A few times the logits.
        memory = 16 * self.cache.num_rows * self.policy.vocab_size * torch.float32.itemsize
        kind = None
        # The first step of a cache without anything in it makes what it writes into, which is no part of other steps.
        if all(layer.is_initialized for layer in self.cache.row_layers):
            sizes = self.cache.num_rows, self.context_length, self.task.max_new_tokens
            kind = (*sizes, self.sampling, self.policy.kind_of_choice, self.policy.autocast, self.cache.step is None)
        self.graph = StepGraph.of(self.policy, self.position.device, self.step, kind, memory)
        for name, tensor in self._state().items():
            tensor.copy_(saved[name])

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Drop all rows but the given ones, which become rows 0 to R - 1."""
        index = torch.tensor(rows, device=self.position.device)
        self.cache.keep_rows(index)
        for name, tensor in self._state().items():
            setattr(self, name, tensor[index])

    def _state(self) -> dict[str, Tensor]:
        names = ["last_token", "position", "n_generated", "is_running", "uniforms"]
        names += ["token_ids", "log_prob", "values", "candidates"]
        return {name: getattr(self, name) for name in names}


def _first_of_equals(prompts: Sequence[Sequence[int]]) -> list[int]:
    """Return for each prompt the number of the first that it equals, itself where it equals no earlier one."""
    firsts: dict[tuple[int, ...], int] = {}
    return [firsts.setdefault(tuple(prompt), number) for number, prompt in enumerate(prompts)]
