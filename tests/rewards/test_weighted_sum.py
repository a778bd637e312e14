"""Rewards add and scale: hand-computed sums, names of terms, printing and pickling."""

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from textgym.reward_protocol import RewardResult, StepReward, score_completions, step_rewards
from textgym.rewards import BannedWords, Conversational, Keywords, LengthWindow, RewardFunction, WeightedSum, as_reward


def shouting(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(completion.isupper()) for completion in completions]


def only_questions(completions: Sequence[str], **columns: Any) -> list[float | None]:
    return [len(text) / 10 if text.endswith("?") else None for text in completions]


def token_costs(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[list[float]]:
    return [[-float(token) for token in ids] for ids in columns["completion_ids"]]


class PrefixLength(RewardFunction):
    """Pays 1 for each character of the text so far, and 0.5 at the end."""

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        return [0.5 for _ in completions]

    def prefix_rewards(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> list[float]:
        return [float(len(prefix)) for prefix in prefixes]


class PlainSteps:
    """A step reward that knows nothing of ours."""

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        return [0.0 for _ in completions]

    def prefix_rewards(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> list[float]:
        return [10.0 for _ in prefixes]


def evaluate(reward: RewardFunction, *completions: str, token_ids: Sequence[Sequence[int]] = ()) -> RewardResult:
    return score_completions(reward, ["Q"] * len(completions), completions, {}, token_ids or [[1]] * len(completions))


def test_a_sum_scores_by_hand_and_reports_each_term_unweighted() -> None:
    reward = 2 * Keywords(["Python", "learning"]) + LengthWindow(4, 8, unit="characters") - BannedWords(["war"])
    result = evaluate(reward, "python", "war", "Python learning", "")
    assert result.terms == {
        "keywords": [0.5, 0.0, 1.0, 0.0],
        "length_window": [1.0, 0.75, 0.125, 0.0],
        "banned_words": [0.0, 1.0, 0.0, 0.0],
    }
    assert result.scores == [2.0, -0.25, 2.125, 0.0]
    assert result.token_rewards == [None] * 4
    assert reward(prompts=["Q"], completions=["python"]) == [2.0]


def test_numbers_and_plain_functions_combine_from_either_side() -> None:
    assert evaluate(0.25 * (1 - BannedWords(["war"])), "war", "peace").scores == [0.0, 0.25]
    assert evaluate(shouting - Keywords(["a"]), "A", "a", "B").scores == [0.0, -1.0, 1.0]
    assert evaluate(Keywords(["a"]) - shouting, "A", "a", "B").scores == [0.0, 1.0, -1.0]
    assert evaluate(shouting + Keywords(["a"]), "A").terms == {"shouting": [1.0], "keywords": [1.0]}
    assert evaluate(-(Keywords(["a"]) + 3) / 2, "a", "b").scores == [-2.0, -1.5]
    assert evaluate(0.5 * as_reward(shouting, name="loud"), "A").terms == {"loud": [1.0]}
    assert evaluate(sum([Keywords(["a"]), Keywords(["b"])], Keywords(["c"])), "a b").scores == [2.0]


def test_numpy_numbers_scale_like_others() -> None:
    numbers: list[Any] = [np.float64(2), np.float32(2), np.int64(2)]
    for number in numbers:
        assert number * Keywords(["a"]) == 2 * Keywords(["a"])
        assert number + Keywords(["a"]) == 2 + Keywords(["a"])


def test_terms_of_the_same_name_are_numbered_and_names_can_be_given() -> None:
    reward = Keywords(["a"]) + Keywords(["b"]) + Keywords(["c"], name="sea") + 0 * Keywords(["d"])
    result = evaluate(reward, "a c d")
    assert result.terms == {"keywords": [1.0], "keywords_2": [0.0], "sea": [1.0], "keywords_3": [1.0]}
    assert result.scores == [2.0]


def test_a_renamed_sum_is_one_term() -> None:
    reward = as_reward(Keywords(["a"]) + BannedWords(["b"]), name="both")
    assert evaluate(reward, "a b").terms == {"both": [2.0]}


def test_a_term_that_does_not_apply_adds_nothing() -> None:
    result = evaluate(2 * as_reward(only_questions) + Keywords(["a"]), "a?", "a", "b")
    assert result.terms == {"only_questions": [0.2, None, None], "keywords": [1.0, 1.0, 0.0]}
    assert result.scores == [1.4, 1.0, 0.0]


def test_where_no_term_applies_the_sum_does_not_apply_unless_it_has_a_constant() -> None:
    assert (2 * as_reward(only_questions))(prompts=["Q"] * 2, completions=["a?", "a"]) == [0.4, None]
    assert (2 * as_reward(only_questions) + 1)(prompts=["Q"] * 2, completions=["a?", "a"]) == [1.4, 1.0]
    assert evaluate(2 * as_reward(only_questions), "a?", "a").scores == [0.4, 0.0]


def test_token_rewards_are_weighted_and_added_token_by_token() -> None:
    reward = 2 * as_reward(token_costs) + Keywords(["a"]) + 0.5 * as_reward(token_costs)
    token_ids = [[1, 2, 3], [4], []]
    result = evaluate(reward, "a", "b", "a", token_ids=token_ids)
    assert result.token_rewards == [[-2.5, -5.0, -7.5], [-10.0], []]
    assert result.scores == [-14.0, -10.0, 1.0]
    assert result.terms == {"token_costs": [-6.0, -4.0, 0.0], "keywords": [1.0, 0.0, 1.0], "token_costs_2": [-6, -4, 0]}
    values = reward(prompts=["Q"] * 3, completions=["a", "b", "a"], completion_ids=token_ids)
    assert values == [[-2.5, -5.0, -6.5], [-10.0], 1.0]


def test_step_rewards_in_a_sum_are_forwarded_with_their_weights() -> None:
    reward = 2 * (PrefixLength() + Keywords(["a"])) - as_reward(PlainSteps()) + 5
    assert isinstance(reward, StepReward)
    assert step_rewards(reward, ["Q", "Q"], ["", "abc"], {}) == [-10.0, -4.0]
    assert evaluate(reward, "a").scores == [8.0]
    assert reward == pickle.loads(pickle.dumps(2 * PrefixLength() + 2 * Keywords(["a"]))) - reward.terms[2][1] + 5


def test_a_sum_that_would_lose_what_is_paid_at_steps_is_an_error() -> None:
    with pytest.raises(TypeError, match="pays at each step, which a WeightedSum would lose"):
        WeightedSum([(1.0, PrefixLength())])
    with pytest.raises(TypeError, match="Conversational needs a reward that is paid at the end, got"):
        Conversational(PrefixLength())


def test_a_sum_without_step_rewards_is_no_step_reward() -> None:
    assert not isinstance(Keywords(["a"]) + shouting, StepReward)


@pytest.mark.parametrize(
    ("reward", "text"),
    [
        (1 * Keywords(["a"]), "1 * Keywords(['a'])"),
        (-Keywords(["a"]), "-Keywords(['a'])"),
        (0.25 * (1 - BannedWords(["war"])), "-0.25 * BannedWords(['war']) + 0.25"),
        (2 * Keywords(["a"]) - LengthWindow(20, 60) / 4 - 1, "2 * Keywords(['a']) - 0.25 * LengthWindow(20, 60) - 1"),
        (shouting - 0.1 * Keywords(["a"]), "as_reward(shouting) - 0.1 * Keywords(['a'])"),
        (1e-20 * as_reward(shouting, name="loud"), "1e-20 * as_reward(shouting, name='loud')"),
        (PrefixLength(name="p") + 1e300 * PrefixLength(), "PrefixLength(name='p') + 1e+300 * PrefixLength()"),
        ((Keywords(["a"]) + 0.1) * (1 / 3), f"{1 / 3} * Keywords(['a']) + {0.1 * (1 / 3)}"),
    ],
)
def test_a_sum_prints_so_that_it_can_be_typed_again_and_pickles(reward: RewardFunction, text: str) -> None:
    assert repr(reward) == text
    assert eval(text) == reward
    assert pickle.loads(pickle.dumps(reward)) == reward
    assert hash(eval(text)) == hash(reward)


def test_sums_differ_by_weight_order_and_constant() -> None:
    one, other = Keywords(["a"]), Keywords(["b"])
    assert one + other == one + other
    assert len({one + other, other + one, one + 2 * other, one + other + 1, one}) == 5


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: Keywords(["a"]) * Keywords(["b"]),  # type: ignore[operator]
            TypeError,
            "A reward can be multiplied by a number, got Keywords(['b']) of type Keywords.",
        ),
        (
            lambda: Keywords(["a"]) + "b",  # type: ignore[operator]
            TypeError,
            (
                "A reward can be added to a reward, a function of (prompts, completions, **columns) or a number, "
                "got 'b' of type str."
            ),
        ),
        (
            lambda: Keywords(["a"]) + LengthWindow,  # type: ignore[operator]
            TypeError,
            "A reward must be an object, got the class LengthWindow. Write LengthWindow(...).",
        ),
        (
            lambda: Keywords(["a"]) + len,  # type: ignore[operator]
            TypeError,
            (
                "Reward 'len' must take (prompts, completions, **columns), but its signature is (obj, /). "
                "Add **columns to it."
            ),
        ),
        (
            lambda: float("nan") * Keywords(["a"]),
            ValueError,
            "Weights and constants of rewards must be finite, got nan.",
        ),
        (lambda: WeightedSum([]), ValueError, "A weighted sum must have at least one term, got none."),
    ],
)
def test_what_cannot_be_combined_is_refused(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == message


def test_a_failing_term_is_named() -> None:
    def careless(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        return [1 / len(completion) for completion in completions]

    with pytest.raises(ValueError, match="careless") as caught:
        evaluate(Keywords(["a"]) + careless, "a", "")
    assert str(caught.value) == (
        "Reward 'careless' raised ZeroDivisionError (division by zero) on completion 2 of 2:\n"
        "  prompt: 'Q'\n"
        "  completion: ''"
    )
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
