"""The language head of a policy: logits over the allowed tokens, and what they say of tokens that were chosen."""

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Unpack, cast

import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional

from textgym.finished_logits import finish_logits, has_finished_logits

from . import gpu_path
from .candidates import unpack_candidates
from .chunked_head import chunked_head_statistics
from .chunking import in_chunks
from .few_rows import Product, few_rows_product
from .forward_record import ForwardRecord
from .number_checks import check_numbers
from .precision import aligned_rows, precision, product_dtype
from .token_rules import TokenRules
from .token_statistics import head_log_prob, head_statistics, known_statistics, token_statistics
from .trunk import Trunk
from .trunk_model import TrunkArguments

# In float32 128 MB on the CPU, where 600 decisions of GPT-2's vocabulary are one chunk, of which nothing is computed
# twice; half a GB on a GPU, since a few hundred rows leave it idle.
MAX_LOGITS_PER_CHUNK = 1 << 25
MAX_LOGITS_PER_CHUNK_ON_GPU = 1 << 27
# Of a GPU's memory, a sixteenth at most holds logits for the backward pass.
KEPT_SHARE = 16
# Log-probabilities of tokens and entropies of the distributions that they come from, shape (N,) each.
Statistics = tuple[Tensor, Tensor]


class LanguageHead(Trunk):
    """A trunk with the language model's head on it.

    The distribution over tokens is softmax(logits / temperature) over those that the environment allows.

    Its arguments are those of `LanguagePolicy`.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        temperature: float,
        token_rules: TokenRules,
        **of_trunk: Unpack[TrunkArguments],
    ) -> None:
        if temperature == 0:
            raise ValueError(
                f"temperature must be above 0, got {temperature}; for greedy text use deterministic=True, or --greedy."
            )
        check_numbers({"temperature": temperature})
        super().__init__(observation_space, action_space, **of_trunk)
        self.temperature = temperature
        self.token_rules = token_rules
        self._decoding_head: Product | None = None
        self._drawing_record: ForwardRecord | None = None
        banned = torch.tensor(token_rules.banned_token_ids, dtype=torch.long)
        self.register_buffer("banned_token_ids", banned, persistent=False)

    @property
    def plain_head(self) -> nn.Linear | None:
        """The language head, where it is a matrix with nothing put into it, which can be gone round."""
        head = self.language_model.get_output_embeddings()
        is_plain = type(head) is nn.Linear and not head._forward_hooks and not head._forward_pre_hooks
        return head if is_plain else None

    @property
    def has_plain_logits(self) -> bool:
        """Whether logits are a product with a matrix, and nothing else, also by what a subclass says."""
        methods = (type(self).decision_logits, type(self).model_logits, type(self).forbid)
        if not all(method.__module__.startswith("textgym.") for method in methods):
            return False
        head = self.plain_head
        return head is not None and head.bias is None and not has_finished_logits(self.language_model.config)

    @property
    def choice_settings(self) -> Hashable:
        """See `Trunk.choice_settings`."""
        return self.temperature, self.token_rules

    def make_decoding_head(self, num_rows: int) -> Product:
        """Return what does for one rollout what `model_logits` does, from weights that may be copied.

        Args:
            num_rows: About how many rows get a token at a time.
        """
        head, config = self._make_head_product(num_rows), self.language_model.config
        if has_finished_logits(config):
            return lambda hidden: finish_logits(self._cut(head(hidden)), config)
        return lambda hidden: self._cut(head(hidden))

    def _make_head_product(self, num_rows: int) -> Product:
        """Return the language head for one rollout: hidden states, shape (N, D), to logits, shape (N, V'), V' ≥ V."""
        plain = self.plain_head
        if plain is not None:
            dtype = self.decoding_dtype
            weight = plain.weight if plain.bias is not None else aligned_rows(plain.weight)
            bias = None if plain.bias is None else plain.bias.to(dtype)
            matrix = weight.detach().to(dtype).t()
            if bias is None and matrix.is_cuda and dtype != torch.float32:
                # Where they are wanted in float32, logits need not be written down in lower precision first.
                return lambda hidden: torch.mm(hidden.to(dtype), matrix, out_dtype=torch.float32)
            product = few_rows_product(matrix, bias, num_rows)
            return product if dtype == torch.float32 else lambda hidden: product(hidden.to(dtype))
        head = self.language_model.get_output_embeddings()

        # No module, which would be registered as a part of what it is kept in.
        def general(hidden: Tensor) -> Tensor:
            with precision(hidden.device, self.autocast):
                return cast(Tensor, head(hidden))

        return general

    def decision_logits(self, hidden: Tensor, n_generated: Tensor, candidates: Tensor | None = None) -> Tensor:
        """Return logits over allowed tokens, divided by the temperature.

        Args:
            hidden: Hidden states, shape (N, D).
            n_generated: Tokens generated before each decision, shape (N,).
            candidates: As `candidates` returns them; all other tokens are forbidden too.

        Returns:
            Float32, shape (N, V), the least finite number at forbidden tokens.
        """
        logits = self.model_logits(hidden)
        if self.temperature != 1.0:
            logits = logits / self.temperature
        return self.forbid(logits, n_generated, candidates)

    def model_logits(self, hidden: Tensor) -> Tensor:
        """Return the language model's own logits after hidden states, shape (N, D), as float32, shape (N, V)."""
        if self._decoding_head is not None:
            with precision(hidden.device, None):  # it has its own
                return self._decoding_head(hidden)
        with precision(hidden.device, self.autocast):
            logits = self._head(hidden)
        return finish_logits(self._cut(logits), self.language_model.config)

    def _cut(self, logits: Tensor) -> Tensor:
        """Return the logits of the environment's tokens, shape (N, V), as float32, from those of all, (N, V')."""
        # Converted before they are cut, since a GPU copies whole rows faster than parts of them.
        logits = logits.float()
        return logits[:, : self.vocab_size] if logits.shape[1] > self.vocab_size else logits

    def _head(self, hidden: Tensor) -> Tensor:
        """Return logits, shape (N, V'), V' ≥ V."""
        head = self.plain_head
        if head is None or head.bias is not None:
            logits: Tensor = self.language_model.get_output_embeddings()(hidden)
            return logits
        return functional.linear(hidden, aligned_rows(head.weight))

    def statistics_of(
        self, hidden: Tensor, n_generated: Tensor, token_ids: Tensor, candidates: Tensor | None = None
    ) -> Statistics:
        """Return the log-probabilities of chosen tokens and the entropies of the distributions, shape (N,) each.

        The logits of a few decisions are held at once; where there are more, they are computed again in the backward
        pass, unless a GPU has room for them and `gradient_checkpointing` does not ask to save it.

        Args:
            hidden: Hidden states, shape (N, D).
            n_generated: Tokens generated before each decision, shape (N,).
            token_ids: The tokens, among those that are allowed, shape (N,).
            candidates: As `candidates` returns them.
        """
        known = self.memory.take_choices(hidden)
        if known is not None and candidates is None:
            return known_statistics(hidden, self._head_weight, token_ids, self.temperature, known)
        arguments = (hidden, n_generated, token_ids, candidates)
        if self.has_plain_logits and gpu_path.is_for_gpu(hidden):
            return self._chunked_statistics(*arguments)
        statistics = self._statistics_of_head if self.has_plain_logits else self._statistics_of_logits
        log_prob, entropy = in_chunks(statistics, self.rows_per_chunk, *arguments)
        return log_prob, entropy

    @torch.no_grad()
    def log_prob_of(
        self, hidden: Tensor, n_generated: Tensor, token_ids: Tensor, candidates: Tensor | None = None
    ) -> Tensor:
        """Return the log-probabilities of `statistics_of` alone, shape (N,), without gradients."""
        arguments = (hidden, n_generated, token_ids, candidates)
        is_usual = type(self).statistics_of is LanguageHead.statistics_of
        if not is_usual or not self.has_plain_logits or gpu_path.is_for_gpu(hidden):
            return self.statistics_of(*arguments)[0]
        (log_prob,) = in_chunks(self._log_prob_of_head, self.rows_per_chunk, *arguments)
        return log_prob

    def _chunked_statistics(
        self, hidden: Tensor, n_generated: Tensor, token_ids: Tensor, candidates: Tensor | None
    ) -> Statistics:
        def forbid(logits: Tensor, rows: slice) -> Tensor:
            return self.forbid(logits, n_generated[rows], None if candidates is None else candidates[rows])

        dtype = product_dtype(self.autocast)
        # The limit is one of bytes, and is written in entries of float32.
        rows_per_chunk = self.rows_per_chunk * torch.float32.itemsize // dtype.itemsize
        most_kept = 0 if self.gradient_checkpointing else gpu_path.memory_of(hidden) // KEPT_SHARE
        return chunked_head_statistics(
            hidden, self._head_weight, token_ids, self.temperature, forbid, dtype, rows_per_chunk, most_kept
        )

    def _statistics_of_head(
        self, hidden: Tensor, n_generated: Tensor, token_ids: Tensor, candidates: Tensor | None
    ) -> Statistics:
        forbid = partial(self.forbid, n_generated=n_generated, candidates=candidates)
        dtype = None if self.autocast is None else product_dtype(self.autocast)
        return head_statistics(hidden, self._head_weight, token_ids, self.temperature, forbid, dtype)

    def _log_prob_of_head(
        self, hidden: Tensor, n_generated: Tensor, token_ids: Tensor, candidates: Tensor | None
    ) -> tuple[Tensor]:
        forbid = partial(self.forbid, n_generated=n_generated, candidates=candidates)
        dtype = None if self.autocast is None else product_dtype(self.autocast)
        return (head_log_prob(hidden, self._head_weight, token_ids, self.temperature, forbid, dtype),)

    def _statistics_of_logits(
        self, hidden: Tensor, n_generated: Tensor, token_ids: Tensor, candidates: Tensor | None
    ) -> Statistics:
        return token_statistics(self.decision_logits(hidden, n_generated, candidates), token_ids)

    @property
    def _head_weight(self) -> Tensor:
        """The language head's matrix, shape (V, D)."""
        weight = cast(Tensor, self.language_model.get_output_embeddings().weight)
        return weight[: self.vocab_size] if len(weight) > self.vocab_size else weight

    @property
    def rows_per_chunk(self) -> int:
        """Decisions whose logits are worked on at once."""
        most = MAX_LOGITS_PER_CHUNK if self.device.type == "cpu" else MAX_LOGITS_PER_CHUNK_ON_GPU
        return max(1, most // self.vocab_size)

    @contextmanager
    def decoding_with(self, head: Product, record: ForwardRecord | None) -> Iterator[None]:
        """Compute logits by a head of `make_decoding_head`, which belongs to a rollout, for the time of one step.

        Args:
            head: The head.
            record: Keeps what tokens are drawn from; None for nothing.
        """
        self._decoding_head, self._drawing_record = head, record
        try:
            yield
        finally:
            self._decoding_head = self._drawing_record = None

    def forbid(self, logits: Tensor, n_generated: Tensor, candidates: Tensor | None = None) -> Tensor:
        """Put the least finite number in the place of forbidden tokens' logits, shape (N, V), which are changed."""
        rules, lowest = self.token_rules, torch.finfo(logits.dtype).min
        if rules.banned_token_ids:
            logits.index_fill_(1, cast(Tensor, self.banned_token_ids), lowest)
        if rules.min_new_tokens and rules.eos_token_id is not None:
            logits[:, rules.eos_token_id].masked_fill_(n_generated < rules.min_new_tokens, lowest)
        if candidates is not None:
            logits.masked_fill_(~unpack_candidates(candidates, self.vocab_size), lowest)
        return logits
