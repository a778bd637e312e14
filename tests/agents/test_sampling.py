"""Tokens are drawn as their probabilities say."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.agents.tiny import exactly
from textgym.agents.sampling import (
    GROUP,
    draw_by_groups,
    draw_tokens,
    draw_with_log_prob,
    episode_uniforms,
    prompt_generator,
    restrict_to_top,
)

Draw = Callable[[Tensor, Tensor], Tensor]

GPT2_VOCABULARY = 50_257
LAST_UNIFORM = 1 - 2.0**-24  # the greatest float32 below 1
FORBIDDEN = torch.finfo(torch.float32).min


def chi_square_limit(degrees: int) -> float:
    """Return the chi-square value exceeded with probability 0.001, by Wilson and Hilferty's approximation (1931)."""
    spread = 2 / (9 * degrees)
    limit: float = degrees * (1 - spread + 3.0902 * spread**0.5) ** 3
    return limit


def test_the_limit_is_that_of_the_tables() -> None:
    assert chi_square_limit(100) == pytest.approx(149.449, abs=0.1)


def uniforms_of_episodes(n_episodes: int, length: int) -> Tensor:
    return torch.from_numpy(episode_uniforms(11, range(n_episodes), length).ravel())


@pytest.fixture(params=["by probability", "by groups", "in C"])
def draw(request: pytest.FixtureRequest) -> Draw:
    """Return each of the three ways to draw: that of any CPU, that of GPUs, and that of a CPU with a C compiler."""
    if request.param == "by probability":
        return draw_tokens
    by_groups = draw_by_groups if request.param == "by groups" else request.getfixturevalue("in_c").draw
    return lambda *arguments: by_groups(*arguments)[0]


@pytest.mark.parametrize("decline", [0.0, 1.1], ids=["flat", "zipf"])
def test_draws_fit_their_distribution_at_gpt2s_vocabulary(decline: float, draw: Draw) -> None:
    """Chi-square over 100 groups of neighbouring tokens that are about equally probable."""
    rank = torch.randperm(GPT2_VOCABULARY, generator=torch.Generator().manual_seed(0)) + 1
    logits = -decline * rank.float().log()
    probabilities = logits.double().softmax(0)
    uniforms = uniforms_of_episodes(32, 64)
    draws = torch.cat([draw(logits.expand(len(part), -1), part) for part in uniforms.split(8)])
    group = ((probabilities.cumsum(0) - probabilities / 2) * 100).long()
    expected = torch.zeros(100, dtype=torch.float64).index_add(0, group, probabilities) * len(draws)
    observed = torch.bincount(group[draws], minlength=100)
    is_used = expected >= 5
    assert expected[is_used].sum() > 0.99 * len(draws)
    statistic = float(((observed - expected).square() / expected)[is_used].sum())
    assert statistic < chi_square_limit(int(is_used.sum()) - 1)


def test_the_episodes_numbers_are_uniform_and_belong_to_the_episode() -> None:
    numbers = uniforms_of_episodes(200, 64).double()
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert float(numbers.mean()) == pytest.approx(0.5, abs=4 / (12 * len(numbers)) ** 0.5)
    observed = torch.bincount((numbers * 100).long(), minlength=100)
    expected = len(numbers) / 100
    assert float(((observed - expected).square() / expected).sum()) < chi_square_limit(99)
    np.testing.assert_array_equal(
        episode_uniforms(1, [9, 2, 2], 15)[1:], episode_uniforms(1, [2], 15).repeat(2, axis=0)
    )
    alone = np.random.Generator(np.random.Philox(key=np.array([1, 2], dtype=np.uint64)))
    np.testing.assert_array_equal(episode_uniforms(1, [7, 2], 15)[1], alone.random(15, dtype=np.float32))
    np.testing.assert_array_equal(episode_uniforms(1, [2], 16)[:, :8], episode_uniforms(1, [2], 8))
    others = [episode_uniforms(1, [3], 16), episode_uniforms(2, [2], 16), episode_uniforms(2, [1], 16)]
    assert all((episode_uniforms(1, [2], 16) != other).all() for other in others)
    assert prompt_generator(1, 2).integers(1 << 60) != prompt_generator(1, 3).integers(1 << 60)
    # Else a prompt would always come with the same first token.
    assert (prompt_generator(1, 2).random(16, dtype=np.float32) != episode_uniforms(1, [2], 16)).all()


@pytest.mark.parametrize("vocab_size", [2, 12, GPT2_VOCABULARY])
def test_the_first_and_the_last_token_are_reached(vocab_size: int, draw: Draw) -> None:
    logits = torch.zeros(2, vocab_size)
    assert draw(logits, torch.tensor([0.0, LAST_UNIFORM])).tolist() == [0, vocab_size - 1]


def test_a_token_is_drawn_where_the_cumulative_probability_first_exceeds_the_number(draw: Draw) -> None:
    """Probabilities 1/8, 1/2, 1/8, 1/4 by hand: a number on a boundary belongs to the token above it."""
    logits = torch.tensor([0.125, 0.5, 0.125, 0.25]).log()
    uniforms = torch.tensor([0.0, 0.12, 0.13, 0.62, 0.63, 0.74, 0.76, LAST_UNIFORM])
    assert draw(logits.expand(8, -1), uniforms).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    halves = torch.zeros(4, 4)
    assert draw(halves, torch.tensor([0.0, 0.25, 0.5, 0.75])).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("vocab_size", [GROUP - 1, GROUP, GROUP + 1, 8192, GPT2_VOCABULARY])
def test_two_steps_draw_what_one_sum_over_the_vocabulary_would(vocab_size: int, draw: Draw) -> None:
    """Tokens that are cut off at the boundary of two groups, or whole groups that are, included."""
    logits = 3 * torch.randn(64, vocab_size, generator=torch.Generator().manual_seed(5))
    logits[: len(logits) // 2, GROUP // 2 : 3 * GROUP] = FORBIDDEN
    uniforms = torch.rand(len(logits), generator=torch.Generator().manual_seed(6))
    cumulative = logits.softmax(-1).cumsum(-1, dtype=torch.float64)
    expected = torch.searchsorted(cumulative, uniforms.double()[:, None] * cumulative[:, -1:], right=True)[:, 0]
    assert draw(logits, uniforms).tolist() == expected.tolist()


@pytest.mark.parametrize("value", [FORBIDDEN, -torch.inf])
@pytest.mark.parametrize("vocab_size", [8, GPT2_VOCABULARY])
def test_a_token_of_probability_0_is_never_drawn(value: float, vocab_size: int, draw: Draw) -> None:
    """At both ends, where rounding would fall over, also that of a quotient of two numbers, and in between."""
    logits = torch.randn(vocab_size, generator=torch.Generator().manual_seed(1))
    forbidden = [0, 1, vocab_size // 2, vocab_size - 2, vocab_size - 1]
    if vocab_size > 2 * GROUP:
        forbidden += range(vocab_size - 2 * GROUP, vocab_size)
    logits[forbidden] = value
    uniforms = torch.cat([torch.tensor([0.0, LAST_UNIFORM, 1.0]), torch.linspace(0, LAST_UNIFORM, 200)])
    draws = torch.cat([draw(logits.expand(len(part), -1), part) for part in uniforms.split(8)])
    assert not set(draws.tolist()) & set(forbidden)


@pytest.mark.usefixtures("with_and_without_c")
def test_all_ways_give_the_same_tokens_and_their_log_probabilities() -> None:
    generator = torch.Generator().manual_seed(7)
    for vocab_size in (12, 8192, GPT2_VOCABULARY):
        logits = 4 * torch.randn(40, vocab_size, generator=generator)
        logits[:, ::3] = FORBIDDEN
        uniforms = torch.rand(40, generator=generator)
        token_ids, log_prob = draw_with_log_prob(logits, uniforms)
        others = draw_by_groups(logits, uniforms)
        assert others[0].tolist() == token_ids.tolist()
        expected = logits.log_softmax(dim=-1).gather(1, token_ids[:, None])[:, 0]
        for found in (log_prob, others[1]):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_certain_token_is_always_drawn(draw: Draw) -> None:
    logits = torch.full((3, GPT2_VOCABULARY), FORBIDDEN)
    logits[:, 40_000] = -5.0
    assert draw(logits, torch.tensor([0.0, 0.5, LAST_UNIFORM])).tolist() == [40_000] * 3


def test_each_row_is_drawn_from_its_own_distribution(draw: Draw) -> None:
    logits = torch.full((3, 5), FORBIDDEN)
    logits[torch.arange(3), torch.tensor([4, 0, 2])] = 0.0
    assert draw(logits, torch.tensor([0.3, 0.3, 0.3])).tolist() == [4, 0, 2]


# Probabilities 0.4, 0.3, 0.2, 0.1 of tokens 2, 0, 3, 1.
FOUR = torch.tensor([[0.3, 0.1, 0.4, 0.2]]).log()


@pytest.mark.parametrize(
    ("top_k", "top_p", "kept"),
    [
        (None, None, [0, 1, 2, 3]),
        (1, None, [2]),
        (2, None, [0, 2]),
        (4, None, [0, 1, 2, 3]),
        (9, None, [0, 1, 2, 3]),
        (None, 0.01, [2]),
        (None, 0.39, [2]),
        (None, 0.41, [0, 2]),
        (None, 0.69, [0, 2]),
        (None, 0.71, [0, 2, 3]),
        (None, 1.0, [0, 1, 2, 3]),
        # Among the best two, 0.4 / 0.7 is more than 0.5.
        (2, 0.5, [2]),
        (3, 0.8, [0, 2, 3]),
    ],
)
def test_only_the_top_tokens_are_left(top_k: int | None, top_p: float | None, kept: list[int]) -> None:
    restricted = restrict_to_top(FOUR.clone(), top_k, top_p)
    assert restricted.isfinite().nonzero()[:, 1].tolist() == kept
    assert torch.equal(restricted[0, kept], FOUR[0, kept])


@pytest.mark.parametrize("top_p", [0.1, 0.9, 0.9999])
def test_nuclei_of_a_large_vocabulary_are_the_smallest_sets_of_their_probability(top_p: float) -> None:
    """Of rows that a few tokens, some hundreds or nearly all are needed for."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((6, 5000), generator=generator) * torch.tensor([[8.0], [2.5], [0.01], [0.0], [3.0], [1.0]])
    kept = restrict_to_top(logits, None, top_p) > -torch.inf
    probabilities = logits.double().softmax(dim=-1)
    for row, is_kept in zip(probabilities, kept, strict=True):
        assert float(row[is_kept].sum()) >= top_p - 1e-6
        # Without the least of them it would be too little, and none outside is more probable.
        assert float(row[is_kept].sum() - row[is_kept].min()) < top_p + 1e-6
        assert is_kept.all() or float(row[~is_kept].max()) <= float(row[is_kept].min())
    alone = torch.cat([restrict_to_top(row[None], None, top_p) for row in logits]) > -torch.inf
    assert torch.equal(kept, alone)


@pytest.mark.parametrize(
    ("top_k", "top_p", "message"),
    [
        (0, None, "top_k must be at least 1, got 0."),
        (None, 0.0, "top_p must be above 0 and at most 1, got 0.0."),
        (None, 1.5, "top_p must be above 0 and at most 1, got 1.5."),
    ],
)
def test_a_restriction_to_nothing_is_an_error(top_k: int | None, top_p: float | None, message: str) -> None:
    with pytest.raises(ValueError, match=exactly(message)):
        restrict_to_top(FOUR, top_k, top_p)


@pytest.mark.parametrize("top_p", ["a", True])
def test_a_probability_is_a_number(top_p: Any) -> None:
    with pytest.raises(TypeError, match=exactly(f"top_p must be a number, got {top_p!r}.")):
        restrict_to_top(FOUR, None, top_p)


def test_a_row_of_nan_gives_a_token_that_exists(draw: Draw) -> None:
    """Another index would bring a CUDA device down, before the run can say what has become NaN."""
    logits = torch.zeros(3, 7)
    logits[1] = torch.nan
    tokens = draw(logits, torch.tensor([0.0, 0.5, 0.999]))
    assert tokens.tolist() == [0, 6, 6]
