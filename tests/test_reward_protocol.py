"""How rewards are called, what they may give back, and every error in full."""

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from textgym.reward_protocol import (
    Reward,
    RewardError,
    RewardResult,
    evaluate_reward,
    require_reward,
    resolve_reward,
    score_completions,
    step_rewards,
)
from textgym.rewards import Keywords

PROMPTS = ["The film", "The book", "The play"]
COMPLETIONS = [" was good", " was\nbad", ""]
TOKEN_IDS = [[4, 5], [4, 6, 7], []]


def returning(values: Any) -> Reward:
    """A reward that returns the same whatever it is called with."""

    def constant(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> Any:
        return values

    return constant


def score(reward: Reward) -> RewardResult:
    return score_completions(reward, PROMPTS, COMPLETIONS, {"answer": ["a", "b", "c"]}, TOKEN_IDS)


def test_a_reward_gets_what_trl_passes_by_keyword() -> None:
    seen: dict[str, Any] = {}

    def spy(completions: Sequence[str], **everything: Any) -> list[float]:
        everything["log_extra"]("column", ["x"] * 3)
        everything["log_metric"]("metric", 0.5)
        seen.update(everything, completions=completions)
        return [0.0] * 3

    assert score(spy) == RewardResult([0.0] * 3, {"spy": [0.0] * 3}, [None] * 3)
    assert seen.keys() == {
        *("prompts", "completions", "completion_ids", "answer", "trainer_state", "log_extra", "log_metric")
    }
    assert (seen["prompts"], seen["completions"], seen["completion_ids"]) == (PROMPTS, COMPLETIONS, TOKEN_IDS)
    assert seen["answer"] == ["a", "b", "c"]
    assert seen["trainer_state"] is None


@pytest.mark.parametrize(
    ("values", "scores"),
    [
        ([1, 0.5, True], [1.0, 0.5, 1.0]),
        ((1, 2, 3), [1.0, 2.0, 3.0]),
        (np.array([1, 2, 3]), [1.0, 2.0, 3.0]),
        ([np.float32(0.5), np.int64(2), np.True_], [0.5, 2.0, 1.0]),
        (torch.tensor([1.0, 2.0, 3.0]), [1.0, 2.0, 3.0]),
        ([torch.tensor(1.5), 2, 3], [1.5, 2.0, 3.0]),
    ],
)
def test_numbers_of_many_kinds_become_floats(values: Any, scores: list[float]) -> None:
    result = score(returning(values))
    assert result == RewardResult(scores, {"constant": list(scores)}, [None] * 3)
    assert all(type(number) is float for number in result.scores)


@pytest.mark.parametrize("convert", [list, np.array, torch.tensor])
def test_token_rewards_add_up_to_the_score_and_none_does_not_apply(convert: Any) -> None:
    result = score(returning([convert([0.5, 1.0]), None, []]))
    assert result.scores == [1.5, 0.0, 0.0]
    assert result.terms == {"constant": [1.5, None, 0.0]}
    assert result.token_rewards == [[0.5, 1.0], None, []]


def test_a_reward_that_reports_terms_is_asked_for_them() -> None:
    class Judge:
        def __call__(self, **arguments: Any) -> list[float]:
            raise AssertionError("evaluate() tells more")

        def evaluate(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> RewardResult:
            return RewardResult([1, 2, 3], {"tone": [None, 1, 2]}, [None, [1, 1, 1], None])

    assert score(Judge()) == RewardResult([1.0, 2.0, 3.0], {"tone": [None, 1.0, 2.0]}, [None, [1.0, 1.0, 1.0], None])


def test_an_empty_batch_needs_no_call() -> None:
    assert score_completions(returning([1.0]), [], [], {}, []) == RewardResult([], {}, [])


EXPECTED = "must give each completion a finite number, None, or a list of one finite number per token"
SECOND = "for completion 2 of 3:\n  prompt: 'The book'\n  completion: ' was\\nbad'"
FIRST_OF_BATCH = "the batch's first completion is:\n  prompt: 'The film'\n  completion: ' was good'"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, float("nan"), 1], f"Reward 'constant' {EXPECTED}, got nan {SECOND}"),
        ([1, float("-inf"), 1], f"Reward 'constant' {EXPECTED}, got -inf {SECOND}"),
        ([1, np.float32("nan"), 1], f"Reward 'constant' {EXPECTED}, got nan {SECOND}"),
        (torch.tensor([1.0, torch.inf, 1.0]), f"Reward 'constant' {EXPECTED}, got inf {SECOND}"),
        ([1, "good", 1], f"Reward 'constant' {EXPECTED}, got 'good' of type str {SECOND}"),
        ([1, 1j, 1], f"Reward 'constant' {EXPECTED}, got 1j of type complex {SECOND}"),
        ([1, {"score": 1}, 1], f"Reward 'constant' {EXPECTED}, got {{'score': 1}} of type dict {SECOND}"),
        ([1, [1, 2], 1], f"Reward 'constant' {EXPECTED}, got a list of 2 for 3 tokens {SECOND}"),
        (
            [1, [1, float("nan"), 2], 1],
            f"Reward 'constant' {EXPECTED}, got a list with nan for token 2 of 3 {SECOND}",
        ),
        ([1, [1, None, 2], 1], f"Reward 'constant' {EXPECTED}, got a list with None for token 2 of 3 {SECOND}"),
        ([1, 2], f"Reward 'constant' must return one entry per completion, got 2 for 3; {FIRST_OF_BATCH}"),
        (
            None,
            f"Reward 'constant' must return a list with one entry per completion, got None; {FIRST_OF_BATCH}",
        ),
        (
            0.5,
            f"Reward 'constant' must return a list with one entry per completion, got 0.5; {FIRST_OF_BATCH}",
        ),
        (
            "abc",
            (
                "Reward 'constant' must return a list with one entry per completion, got 'abc' of type str; "
                f"{FIRST_OF_BATCH}"
            ),
        ),
    ],
)
def test_what_cannot_be_used_is_an_error_that_shows_prompt_and_completion(values: Any, message: str) -> None:
    with pytest.raises(RewardError) as caught:
        score(returning(values))
    assert str(caught.value) == message


def test_an_int_beyond_the_floats_is_not_finite() -> None:
    with pytest.raises(RewardError, match="of type int for completion 1 of 3"):
        score(returning([10**400, 1, 1]))


def test_an_exception_is_chained_and_shows_the_completion_that_raises_it() -> None:
    def fragile(prompts: Sequence[str], completions: Sequence[str], answer: Sequence[str], **columns: Any) -> list[int]:
        return ["ac".index(one) for one in answer]

    with pytest.raises(RewardError) as caught:
        score(fragile)
    assert str(caught.value) == (
        "Reward 'fragile' raised ValueError (substring not found) on completion 2 of 3:\n"
        "  prompt: 'The book'\n"
        "  completion: ' was\\nbad'"
    )
    assert (caught.value.prompt, caught.value.completion) == (PROMPTS[1], COMPLETIONS[1])
    assert type(caught.value.__cause__) is ValueError


def test_an_exception_that_only_a_batch_raises_shows_the_first_completion() -> None:
    def small(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        if len(prompts) > 2:
            raise MemoryError("too many")
        return [0.0] * len(prompts)

    with pytest.raises(RewardError) as caught:
        score(small)
    assert str(caught.value) == (
        "Reward 'small' raised MemoryError (too many) on a batch of 3 completions, none of which fails alone; "
        "the first is:\n  prompt: 'The film'\n  completion: ' was good'"
    )


def test_a_reward_error_survives_pickling() -> None:
    with pytest.raises(RewardError) as caught:
        score(returning([1]))
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)
    assert copy.prompt == PROMPTS[0]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (
            [1, 2, 3],
            f"evaluate() of reward 'judge' must return a RewardResult, got list; {FIRST_OF_BATCH}",
        ),
        (
            RewardResult([1, float("nan"), 3], {}, [None] * 3),
            f"Reward 'judge' must give each completion a finite number, got nan {SECOND}",
        ),
        (
            RewardResult([1, 2, 3], {"tone": [1, float("inf"), 3]}, [None] * 3),
            f"Reward 'tone' {EXPECTED}, got inf {SECOND}",
        ),
        (
            RewardResult([1, 2, 3], {}, [None, [1.0], None]),
            (
                "Reward 'judge' must give each completion None or a list of one finite number per token, "
                f"got a list of 1 for 3 tokens {SECOND}"
            ),
        ),
        (
            RewardResult([1, 2, 3], {}, [None, 1.0, None]),  # type: ignore[list-item]
            f"Reward 'judge' must give each completion None or a list of one finite number per token, got 1.0 {SECOND}",
        ),
    ],
)
def test_terms_are_checked_as_well(result: Any, message: str) -> None:
    class Judge:
        def __call__(self, **arguments: Any) -> list[float]:
            return []

        def evaluate(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> Any:
            return result

    with pytest.raises(RewardError) as caught:
        score(Judge())
    assert str(caught.value) == message


def test_arguments_that_differ_in_length_are_refused() -> None:
    with pytest.raises(ValueError, match="answer") as caught:
        score_completions(returning([1]), ["a"], ["b"], {"answer": []}, [[1]])
    assert str(caught.value) == "answer must have one entry per prompt, got 0 for 1 prompts."


@pytest.mark.parametrize("name", ["completions", "self"])
def test_a_column_under_the_name_of_another_argument_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name) as caught:
        score_completions(returning([1]), ["a"], ["b"], {name: ["c"]}, [[1]])
    expected = f"The prompt data has a column {name!r}, but rewards get something else by that name. Rename it."
    assert str(caught.value) == expected


class Steps:
    """A step reward that pays what it is told to."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def prefix_rewards(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> Any:
        if self.values is None:
            raise KeyError("values")
        return self.values


def test_step_rewards_become_floats() -> None:
    assert step_rewards(Steps(np.array([1, 2, 3])), PROMPTS, COMPLETIONS, {}) == [1.0, 2.0, 3.0]
    assert step_rewards(Steps(None), [], [], {}) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, float("nan"), 3], f"Reward 'steps' must give each completion a finite number, got nan {SECOND}"),
        ([1, None, 3], f"Reward 'steps' must give each completion a finite number, got None {SECOND}"),
        ([1], f"Reward 'steps' must return one entry per completion, got 1 for 3; {FIRST_OF_BATCH}"),
        (
            None,
            (
                "Reward 'steps' raised KeyError ('values') on completion 1 of 3:\n"
                "  prompt: 'The film'\n  completion: ' was good'"
            ),
        ),
    ],
)
def test_bad_step_rewards_are_errors(values: Any, message: str) -> None:
    with pytest.raises(RewardError) as caught:
        step_rewards(Steps(values), PROMPTS, COMPLETIONS, {})
    assert str(caught.value) == message


def test_evaluate_reward_names_a_single_term_when_asked_to() -> None:
    result = evaluate_reward(Keywords(["good"]), PROMPTS, COMPLETIONS, {}, name="praise")
    assert result.terms == {"praise": [1.0, 0.0, 0.0]}


def test_an_object_that_is_a_reward_resolves_to_itself() -> None:
    for reward in (returning([1]), Keywords(["a"]), lambda **columns: [0.0]):
        assert resolve_reward(reward) is reward


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            3,
            (
                "A reward must be a function of (prompts, completions, **columns), a name or a composition, "
                "got 3 of type int."
            ),
        ),
        (Keywords, "A reward must be an object, got the class Keywords. Write Keywords(...)."),
        (
            lambda prompts, completions: [0.0],
            (
                "Reward 'lambda' must take (prompts, completions, **columns), but its signature is "
                "(prompts, completions). Add **columns to it."
            ),
        ),
    ],
)
def test_what_is_no_reward_is_refused(spec: Any, message: str) -> None:
    with pytest.raises(TypeError) as caught:
        resolve_reward(spec)
    assert str(caught.value) == message


def test_what_pays_at_each_step_must_take_prefixes() -> None:
    class Paying:
        def __init__(self, prefix_rewards: Any) -> None:
            self.prefix_rewards = prefix_rewards

        def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
            return [0.0] * len(prompts)

    taken: list[Any] = [lambda prompts, prefixes: [], lambda prefixes, answer, **columns: [], lambda **columns: []]
    for right in taken:
        require_reward(Paying(right))
    refused: list[Any] = [lambda prompts, completions, **columns: [], lambda prompts: []]
    for wrong in refused:
        with pytest.raises(TypeError, match=r"must take \(prompts, prefixes, \*\*columns\), but its signature is "):
            require_reward(Paying(wrong))


def test_a_column_that_the_prompts_lack_is_named() -> None:
    def right(completions: Sequence[str], answer: Sequence[str], **columns: Any) -> list[float]:
        return [0.0] * len(answer)

    given: list[tuple[dict[str, Any], str]] = [({}, "no others"), ({"level": [1], "stars": [2]}, "level, stars")]
    for columns, there in given:
        with pytest.raises(RewardError) as caught:
            score_completions(right, ["a"], ["b"], columns, [[1]])
        assert f"; the prompts have {there} as columns, and not 'answer', on completion 1" in str(caught.value)

    def wrong(completions: Sequence[str], **columns: Any) -> list[float]:
        return right(completions)  # type: ignore[call-arg]

    with pytest.raises(RewardError) as caught:
        score_completions(wrong, ["a"], ["b"], {"answer": [1]}, [[1]])
    assert "as columns" not in str(caught.value)
