"""Rewards that do something with another one's scores: clipping, whitening, gates, remembering, timing."""

import json
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import yaml

from tests.fakes import PayEachStep
from textgym.reward_protocol import RewardResult, evaluate_potential, score_completions
from textgym.rewards import (
    Cached,
    Clip,
    EndsSentence,
    Gate,
    Keywords,
    LengthWindow,
    PotentialShaping,
    RewardFunction,
    Timed,
    Whiten,
    as_reward,
    build_reward,
    reward_to_data,
)


def length(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float | None]:
    """The number of characters; does not apply to an empty text."""
    return [float(len(text)) if text else None for text in completions]


def token_numbers(completions: Sequence[str], completion_ids: Sequence[list[int]], **columns: Any) -> list[list[float]]:
    return [[float(token) for token in ids] for ids in completion_ids]


class Counting(RewardFunction):
    """Scores by the column `worth`, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[str]] = []

    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], worth: Sequence[float] = (), **columns: Any
    ) -> list[float]:
        self.asked.append(list(completions))
        return list(worth) if worth else [float(len(text)) for text in completions]


def evaluate(reward: RewardFunction, *completions: str, ids: Any = None, **columns: Any) -> RewardResult:
    return score_completions(reward, ["Q"] * len(completions), completions, columns, ids or [[1]] * len(completions))


def test_clip_bounds_the_score_and_reports_what_was_clipped() -> None:
    result = evaluate(Clip(length, 2, 4, name="bounded"), "a", "abc", "abcdef", "")
    assert result.scores == [2.0, 3.0, 4.0, 0.0]
    assert result.terms == {"length": [1.0, 3.0, 6.0, None], "bounded": [2.0, 3.0, 4.0, None]}
    assert Clip(length, 2, 4)(prompts=["Q"] * 2, completions=["a", ""]) == [2.0, None]


def test_a_constant_applies_to_every_completion_also_within_other_rewards() -> None:
    """Of a text that is empty `1 - length` is 1, and of the others 0, -2 and -5."""
    texts, inner = ("a", "abc", "abcdef", ""), 1 - as_reward(length)
    prompts = ["Q"] * 4
    assert inner(prompts=prompts, completions=texts) == [0.0, -2.0, -5.0, 1.0]
    clipped = Clip(inner, -1, 0.5)
    assert evaluate(clipped, *texts).scores == [0.0, -1.0, -1.0, 0.5]
    assert clipped(prompts=prompts, completions=texts) == [0.0, -1.0, -1.0, 0.5]
    assert Clip(clipped, 0.25, 1)(prompts=prompts, completions=texts) == [0.25, 0.25, 0.25, 0.5]
    whitened = Whiten(inner)
    assert sum(evaluate(whitened, *texts).scores) == pytest.approx(0)
    assert whitened.scoring_state()["count"] == 4
    assert Cached(inner)(prompts=prompts, completions=texts) == Timed(inner)(prompts=prompts, completions=texts)
    assert Gate(as_reward(length) + 7, inner)(prompts=prompts, completions=texts) == [0.0, 0.0, 0.0, 7.0]
    assert Gate(length, inner)(prompts=prompts, completions=texts) == [0.0, 0.0, 0.0, None]


def test_a_constant_within_a_term_applies_in_a_sum_around_it_too() -> None:
    prompts, texts = ["Q"] * 2, ("abc", "")
    around = 2 * Clip(1 - as_reward(length), -1, 0.5)
    assert around(prompts=prompts, completions=texts) == [-2.0, 1.0]
    assert Clip(around, -1, 0.75)(prompts=prompts, completions=texts) == [-1.0, 0.75]
    assert Timed(around)(prompts=prompts, completions=texts) == [-2.0, 1.0]
    assert (2 * as_reward(length))(prompts=prompts, completions=texts) == [6.0, None]


def test_what_does_not_apply_is_not_timed_either() -> None:
    assert Timed(length)(prompts=["Q"] * 2, completions=["a", ""]) == [1.0, None]
    assert (1 * as_reward(Timed(length)))(prompts=["Q"] * 2, completions=["a", ""]) == [1.0, None]


def test_what_clipping_takes_from_token_rewards_is_taken_at_the_last() -> None:
    reward = Clip(token_numbers, 0, 4)
    assert reward(prompts=["Q"], completions=["a"], completion_ids=[[1, 2, 3]]) == [[1.0, 2.0, 1.0]]


def test_whitened_scores_have_mean_0_and_variance_1_over_all_that_came() -> None:
    """By numpy, batch after batch, of very different sizes and levels."""
    generator = np.random.default_rng(0)
    reward = Whiten(Counting())
    seen: list[float] = []
    for size, level in ((5, 0.0), (1, 100.0), (40, -3.0)):
        worth = (level + 10 * generator.standard_normal(size)).tolist()
        seen += worth
        result = evaluate(reward, *["x"] * size, worth=worth)
        assert result.scores == pytest.approx(((np.array(worth) - np.mean(seen)) / np.std(seen)).tolist())
        assert result.terms == {"counting": worth}
    assert (reward.mean, reward.std) == pytest.approx((np.mean(seen), np.std(seen)))


def test_whitening_without_a_center_keeps_signs() -> None:
    assert evaluate(Whiten(Counting(), center=False), "", "", worth=[3.0, 1.0]).scores == [3.0, 1.0]


def test_equal_scores_are_not_divided_by_nothing() -> None:
    assert evaluate(Whiten(Counting()), *"abc", worth=[0.1, 0.1, 0.1]).scores == pytest.approx([0.0] * 3)


def test_what_does_not_apply_is_not_whitened() -> None:
    result = evaluate(Whiten(length), "ab", "", "abcd")
    assert result.scores == [-1.0, 0.0, 1.0]


def test_a_pickled_whitening_goes_on_from_where_it_was() -> None:
    original = Whiten(length)
    evaluate(original, "ab", "abcdef")
    copy = pickle.loads(pickle.dumps(original))
    assert evaluate(copy, "abc").scores == evaluate(original, "abc").scores != evaluate(Whiten(length), "abc").scores


def test_unfinished_texts_do_not_count_in_whitening() -> None:
    reward = Whiten(length)
    evaluate(reward, "ab", "abcd")
    assert evaluate_potential(reward, ["Q"], ["abcdefgh"], {}) == [5.0]
    assert reward.mean == 3.0


def test_a_gate_asks_the_reward_only_for_what_passes() -> None:
    inner = Counting()
    result = evaluate(Gate(inner, EndsSentence(), name="gated"), "a.", "b", "c.", worth=[1.0, 2.0, 3.0])
    assert result.scores == [1.0, 0.0, 3.0]
    assert inner.asked == [["a.", "c."]]
    assert result.terms == {
        "counting": [1.0, None, 3.0],
        "ends_sentence": [1.0, 0.0, 1.0],
        "gated": [1.0, 0.0, 3.0],
    }
    assert evaluate(Gate(inner, EndsSentence()), "b").scores == [0.0]
    assert len(inner.asked) == 1


def test_a_gate_has_a_threshold_and_is_closed_where_its_condition_does_not_apply() -> None:
    assert evaluate(
        Gate(lambda completions, **_: [1.0] * len(completions), length, above=2), "ab", "abc", ""
    ).scores == [
        0.0,
        1.0,
        0.0,
    ]


def test_a_gate_names_its_terms_alike_in_every_batch() -> None:
    """Also where it is closed to all of a batch, and what stands behind it in a sum."""
    gate = Gate(Keywords(["a"]), Keywords(["cat"]))
    total = Gate(Keywords(["cat"]), EndsSentence()) + Keywords(["dog"]) + Timed(Clip(length, 0, 1, name="bounded"))
    for reward, names in (
        (gate, {"keywords", "keywords_condition"}),
        (total, {"keywords", "ends_sentence", "keywords_2", "length", "bounded", "bounded_seconds"}),
    ):
        assert set(reward.term_names) == names
        for text in ("a cat.", "a dog"):
            assert set(evaluate(reward, text).terms) == names
    assert evaluate(gate, "a dog").terms == {"keywords": [None], "keywords_condition": [0.0]}
    assert evaluate(total, "a dog").terms["keywords_2"] == [1.0]


def test_a_gate_keeps_token_rewards_of_what_passes() -> None:
    result = evaluate(Gate(token_numbers, EndsSentence()), "a", "b.", ids=[[1, 2], [3]])
    assert result.token_rewards == [None, [3.0]]


def test_cached_asks_once_for_the_same_item_and_again_for_another_column() -> None:
    inner = Counting()
    reward = Cached(inner)
    assert evaluate(reward, "aa", "b", "aa").scores == [2.0, 1.0, 2.0]
    assert evaluate(reward, "b", "ccc").scores == [1.0, 3.0]
    assert inner.asked == [["aa", "b"], ["ccc"]]
    assert evaluate(reward, "b", worth=[7.0]).scores == [7.0]
    assert evaluate(reward, "b", worth=[8.0]).scores == [8.0]
    assert evaluate(reward, "b", ids=[[2, 3]]).scores == [1.0]
    assert len(inner.asked) == 5


def test_cached_gives_back_terms_and_token_rewards() -> None:
    reward = Cached(2 * Keywords(["a"]) + token_numbers)
    first = evaluate(reward, "a", "b", ids=[[1, 2], [3]])
    assert evaluate(reward, "a", "b", ids=[[1, 2], [3]]) == first
    assert first.terms == {"keywords": [1.0, 0.0], "token_numbers": [3.0, 3.0]}


def test_cached_forgets_what_was_used_longest_ago() -> None:
    inner = Counting()
    reward = Cached(inner, size=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        evaluate(reward, text)
    assert inner.asked == [["a"], ["b"], ["c"], ["b"]]
    assert pickle.loads(pickle.dumps(reward)).evaluate(["Q"], ["a"]).scores == [1.0]


def test_timed_reports_the_seconds_of_each_term_and_changes_no_score() -> None:
    reward = 2 * Keywords(["a"]) - as_reward(length) + 1
    result, timed = evaluate(reward, "a", "b"), evaluate(Timed(reward), "a", "b")
    assert timed.scores == result.scores
    assert timed.terms.keys() == {"keywords", "keywords_seconds", "length", "length_seconds"}
    assert all(0 < seconds < 1 for seconds in timed.terms["keywords_seconds"] if seconds is not None)
    assert evaluate(Timed(Keywords(["a"]), name="all"), "a").terms.keys() == {"keywords", "keywords_seconds", "all"}


REWARDS: list[RewardFunction] = [
    Clip(Keywords(["a"]), 0.25, 0.75, name="clipped"),
    Whiten(length, center=False),
    Gate(2 * Keywords(["a"]) + 1, EndsSentence(), above=0.5),
    Cached(Timed(LengthWindow(2, 4, unit="words")), size=7),
    PotentialShaping(Keywords(["a"])) - 0.5 * Whiten(Clip(as_reward(length, name="size"), -1, 1)),
]


@pytest.mark.parametrize("reward", REWARDS, ids=repr)
def test_each_prints_pickles_and_is_written_in_yaml(reward: RewardFunction) -> None:
    assert eval(repr(reward)) == reward
    assert pickle.loads(pickle.dumps(reward)) == reward
    written = yaml.safe_dump(reward_to_data(reward), allow_unicode=True)
    assert build_reward(yaml.safe_load(written)) == reward


def test_ranges_follow_from_the_parts() -> None:
    keywords = Keywords(["a"])
    assert (2 * keywords - EndsSentence() + 1).score_range == (0.0, 3.0)
    assert Clip(3 * keywords, 1, 2).score_range == (1.0, 2.0)
    assert Gate(keywords + 1, EndsSentence()).score_range == (0.0, 2.0)
    assert Cached(keywords).score_range == Timed(keywords).score_range == (0.0, 1.0)
    assert (keywords + length).score_range is None
    assert (keywords + 0 * as_reward(length)).score_range is None


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Clip(length, 2, 1), ValueError, "Clip needs two numbers with low <= high, got low 2 and high 1."),
        (lambda: Cached(length, size=0), ValueError, "size must be at least 1, got 0."),
        (
            lambda: Clip(PotentialShaping(Keywords(["a"])), 0, 1),
            TypeError,
            (
                "Clip needs a reward that is paid at the end, got PotentialShaping(Keywords(['a'])), which pays on the "
                "way. Put that beside it in a sum, or PotentialShaping around it."
            ),
        ),
        (lambda: Gate(length, 3), TypeError, None),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_wrapped_is_refused(make: Any, error: type[Exception], message: str | None) -> None:
    with pytest.raises(error) as caught:
        make()
    assert message is None or str(caught.value) == message


def test_a_step_reward_is_not_wrapped() -> None:
    with pytest.raises(TypeError, match="which pays on the way"):
        Whiten(PayEachStep())


def test_a_reward_goes_on_from_the_state_of_an_equal_one() -> None:
    """What `Whiten` has seen is found inside a sum; a reward without state refuses one."""
    first, second, fresh = (2 * Whiten(LengthWindow(2, 3, unit="words")) + Keywords(["war"]) for _ in range(3))
    first(prompts=["The"] * 3, completions=["", "film", "film was good"])
    second.restore_whole_state(json.loads(json.dumps(first.whole_state())))
    later = {"prompts": ["The"], "completions": ["film was"]}
    scores = first(**later)
    assert second(**later) == scores
    assert fresh(**later) != scores
    with pytest.raises(ValueError, match=r"Keywords keeps nothing of what it scored, got mean\."):
        Keywords(["war"]).restore_scoring_state({"mean": 1.0})
