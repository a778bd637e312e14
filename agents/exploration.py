"""What a value-based policy tries besides its best token, and which tokens it considers at all."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from .policy import GPT2Policy
from .reference import Reference
from .sampling import restrict_to_top

ExplorationKind = Literal["reference", "uniform"]


class Exploration:
    """With probability ε, row by row and token by token, another distribution than the greedy one.

    That of the reference, which is the language model before training, tries what is likely in a text; of thousands of
    tokens, a uniform distribution tries hardly any that is.

    Args:
        kind: `"reference"` for the reference's distribution, or `"uniform"` over the allowed tokens.
        candidates: Consider only so many tokens, the reference's most probable ones; None for all.
        find_reference: Gives the reference, when it is needed for the first time.

    Attributes:
        rate: ε; 0, as outside of rollouts, always takes the best token.

    Raises:
        ValueError: If `kind` is unknown, or `candidates` is below 1.
    """

    def __init__(
        self,
        kind: ExplorationKind = "uniform",
        candidates: int | None = None,
        find_reference: Callable[[], Reference | None] | None = None,
    ) -> None:
        if kind not in get_args(ExplorationKind):
            raise ValueError(f"exploration must be one of {get_args(ExplorationKind)}, got {kind!r}.")
        if candidates is not None and candidates < 1:
            raise ValueError(f"candidates must be at least 1, got {candidates}.")
        self.kind = kind
        self.candidates = candidates
        self.rate = 0.0
        self._find_reference = find_reference

    @property
    def needs_reference(self) -> bool:
        """Whether the next token cannot be chosen without the reference."""
        return self.candidates is not None or (self.kind == "reference" and self.rate > 0)

    @cached_property
    def reference(self) -> GPT2Policy:
        """The reference's policy.

        Raises:
            ValueError: If there is none.
        """
        found = None if self._find_reference is None else self._find_reference()
        if found is None:
            raise ValueError(
                f"exploration={self.kind!r} with candidates={self.candidates} needs a reference; pass "
                "reference='initial' or a model, or exploration='uniform' and candidates=None."
            )
        return found.policy

    @contextmanager
    def at_rate(self, rate: float) -> Iterator[None]:
        """Explore at a rate for a while."""
        before, self.rate = self.rate, rate
        try:
            yield
        finally:
            self.rate = before

    def candidate_mask(self, reference_logits: Tensor) -> Tensor:
        """Tell which tokens are considered, given the reference's logits, shape (B, V)."""
        return restrict_to_top(reference_logits, self.candidates, None) > -torch.inf
