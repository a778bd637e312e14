"""The distributions that a rollout's tokens were drawn from, kept for the update after it, which would repeat them.

Where an update takes its blocks' products from decoding, most of what is left of its forward pass is the product with
the language head's matrix, and exponentials. Drawing has computed both, for the same hidden states.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .cpu_step import cpu_step
from .sampling import draw_by_probability, draw_with_log_prob


class KnownChoices(NamedTuple):
    """Distributions over tokens that are known already.

    Attributes:
        probabilities: Float32, shape (N, V).
        entropies: In nats, shape (N,).
        order: Which of the N each decision has, none of them twice, shape (N,).
    """

    probabilities: Tensor
    entropies: Tensor
    order: Tensor


class ChoiceRecord:
    """Distributions of the tokens that decoding chooses, in the order in which it chooses them.

    Args:
        vocab_size: Tokens of the vocabulary V.
        room: Choices that there is room for. Beyond it none is kept.
    """

    def __init__(self, vocab_size: int, room: int) -> None:
        self._probabilities, self._entropies = torch.empty((room, vocab_size)), torch.empty(room)
        self._n_choices = 0
        # For each step that was kept, the number of its first choice here, and that of its caller.
        self._steps: list[tuple[int, int, int]] = []

    @property
    def n_bytes(self) -> int:
        """Bytes that the distributions take. `find` may copy those that are asked for."""
        return self._probabilities.nbytes

    def draw(self, logits: Tensor, uniforms: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Draw a token a row, as `draw_with_log_prob` does, and keep what it was drawn from.

        Args:
            logits: Unnormalised log-probabilities with finite entries, float32, shape (R, V).
            uniforms: Numbers in [0, 1), shape (R,).
            number: The caller's number of the first row's choice; those of the other rows follow.
        """
        first, last = self._n_choices, self._n_choices + len(logits)
        if last > len(self._probabilities):
            return draw_with_log_prob(logits, uniforms)
        self._steps.append((first, number, len(logits)))
        self._n_choices = last
        probabilities, entropies = self._probabilities[first:last], self._entropies[first:last]
        on_cpu = cpu_step(logits.device, logits.dtype)
        if on_cpu is not None:
            return on_cpu.draw(logits, uniforms, probabilities, entropies)
        torch.softmax(logits, dim=-1, out=probabilities)
        token_ids = draw_by_probability(probabilities, uniforms)
        log_prob = probabilities.gather(1, token_ids[:, None])[:, 0].log()
        # H = log Σ exp z − Σ p z, and log Σ exp z = z(a) − log p(a) for any token a; z(a) is near the greatest.
        shifted = logits - logits.gather(1, token_ids[:, None])
        entropies.copy_(-log_prob - torch.linalg.vecdot(probabilities, shifted))
        return token_ids, log_prob

    def find(self, numbers: np.ndarray) -> KnownChoices | None:
        """Return what was kept of choices, by the caller's numbers, shape (N,); None unless all were."""
        here = np.full(max([number + count for _, number, count in self._steps], default=0), -1)
        for first, number, count in self._steps:
            here[number : number + count] = np.arange(first, first + count)
        if not len(here) or numbers.max() >= len(here):
            return None
        found = here[numbers]
        if (found < 0).any():
            return None
        order = torch.from_numpy(found)
        if len(np.unique(found)) == len(found) == self._n_choices:
            return KnownChoices(self._probabilities[: self._n_choices], self._entropies[: self._n_choices], order)
        # Rows that had ended have made choices too, which nobody asks for; and two texts may be one.
        of_asked = self._probabilities.index_select(0, order), self._entropies.index_select(0, order)
        return KnownChoices(*of_asked, torch.arange(len(order)))
