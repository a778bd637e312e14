"""Distributions that are kept where tokens are drawn: found by the caller's numbers, and differentiated as a head's."""

import numpy as np
import pytest
import torch
from torch import Tensor

from textgym.agents import token_statistics
from textgym.agents.choice_record import ChoiceRecord
from textgym.agents.sampling import draw_with_log_prob
from textgym.agents.token_statistics import head_statistics, known_statistics

pytestmark = pytest.mark.usefixtures("with_and_without_c")
VOCAB_SIZE, WIDTH, TEMPERATURE = 70, 6, 0.7
FORBIDDEN = [3, 69]


def forbid(logits: Tensor) -> Tensor:
    logits[:, FORBIDDEN] = torch.finfo(logits.dtype).min
    return logits


class Decoded:
    """Eleven choices in steps of 4, 4 and 3 rows, numbered from 100, 104 and 200 on, and what they came from."""

    def __init__(self, room: int = 20) -> None:
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.randn(VOCAB_SIZE, WIDTH, generator=generator)
        self.hidden = torch.randn(11, WIDTH, generator=generator)
        self.numbers = np.array([100, 101, 102, 103, 104, 105, 106, 107, 200, 201, 202])
        self.record = ChoiceRecord(VOCAB_SIZE, room)
        logits = forbid(self.hidden @ self.weight.t() / TEMPERATURE)
        uniforms = torch.rand(11, generator=generator)
        self.expected = draw_with_log_prob(logits, uniforms)
        self.drawn = [
            self.record.draw(logits[first:last], uniforms[first:last], number)
            for first, last, number in ((0, 4, 100), (4, 8, 104), (8, 11, 200))
        ]


def test_what_is_drawn_is_what_would_be_drawn_without_a_record() -> None:
    decoded = Decoded()
    for expected, parts in zip(decoded.expected, zip(*decoded.drawn, strict=True), strict=True):
        torch.testing.assert_close(torch.cat(parts), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("entropy_weight", [0.0, 0.3])
@pytest.mark.parametrize("most_entries", [1 << 25, 3 * VOCAB_SIZE], ids=["at once", "in slices"])
@pytest.mark.parametrize(
    "asked",
    [[7, 2, 0, 10, 1, 3, 4, 5, 9, 8, 6], [5, 9, 0], [7, 2, 0, 10, 1, 3, 4, 5, 9, 2, 7]],
    ids=["all", "some", "some twice"],
)
def test_statistics_and_gradients_are_those_of_a_head(
    asked: list[int], most_entries: int, entropy_weight: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_statistics, "MOST_ENTRIES", most_entries)
    decoded = Decoded()
    known = decoded.record.find(decoded.numbers[asked])
    assert known is not None
    token_ids = decoded.expected[0][asked]
    scale = torch.randn(len(asked), generator=torch.Generator().manual_seed(1))
    found = []
    for is_known in (True, False):
        hidden, weight = decoded.hidden[asked].requires_grad_(), decoded.weight.clone().requires_grad_()
        if is_known:
            log_prob, entropy = known_statistics(hidden, weight, token_ids, TEMPERATURE, known)
        else:
            log_prob, entropy = head_statistics(hidden, weight, token_ids, TEMPERATURE, forbid)
        (scale * (log_prob + entropy_weight * entropy)).sum().backward()
        found.append((log_prob.detach(), entropy.detach(), hidden.grad, weight.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_gradients_go_where_they_are_asked_for() -> None:
    decoded = Decoded()
    known = decoded.record.find(decoded.numbers)
    assert known is not None
    for hidden, weight in (
        (decoded.hidden.clone().requires_grad_(), decoded.weight),
        (decoded.hidden, decoded.weight.clone().requires_grad_()),
    ):
        log_prob, _ = known_statistics(hidden, weight, decoded.expected[0], TEMPERATURE, known)
        log_prob.sum().backward()
        assert sum(leaf.grad is not None for leaf in (hidden, weight)) == 1


def test_choices_that_were_not_kept_are_unknown() -> None:
    decoded = Decoded(room=9)  # the last step has none
    assert decoded.record.find(decoded.numbers[:8]) is not None
    assert decoded.record.find(decoded.numbers) is None
    assert decoded.record.find(np.array([99])) is None
    assert Decoded().record.find(np.array([100, 150])) is None
    assert ChoiceRecord(VOCAB_SIZE, 4).find(np.array([0])) is None
    for expected, parts in zip(decoded.expected, zip(*decoded.drawn, strict=True), strict=True):
        torch.testing.assert_close(torch.cat(parts), expected, atol=1e-6, rtol=0)
