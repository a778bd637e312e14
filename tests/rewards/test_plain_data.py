"""Rewards as plain data and back, and everything that is accepted as a reward."""

from collections.abc import Sequence
from typing import Any

import pytest

import textgym.rewards
from textgym.reward_protocol import resolve_reward, score_completions
from textgym.rewards import Clip, EndsSentence, Keywords, WeightedSum, as_reward, build_reward, reward_to_data
from textgym.task import TextTask


def exclaims(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(text.endswith("!")) for text in completions]


def make_shorter_than(limit: int) -> Any:
    """A factory, as `trl.rewards` has some."""

    def shorter(completions: Sequence[str], **columns: Any) -> list[float]:
        return [float(len(text) < limit) for text in completions]

    return shorter


MODULE = "tests.rewards.test_plain_data"


@pytest.mark.parametrize(
    "spec",
    [
        "[{keywords: {words: [海, sea]}, weight: 2}, ends_sentence, {constant: -1}]",
        [{"keywords": {"words": ["海", "sea"]}, "weight": 2}, "ends_sentence", {"constant": -1}],
        [2 * Keywords(["海", "sea"]), EndsSentence(), {"constant": -1}],
        2 * Keywords(["海", "sea"]) + EndsSentence() - 1,
    ],
)
def test_a_sum_is_the_same_in_python_in_yaml_and_in_a_line(spec: Any) -> None:
    assert resolve_reward(spec) == 2 * Keywords(["海", "sea"]) + EndsSentence() - 1
    assert TextTask(reward=spec).reward == resolve_reward(spec)


def test_wrappers_take_whatever_names_a_reward() -> None:
    expected = Clip(as_reward(exclaims), 0, 0.5)
    assert Clip(f"{MODULE}:exclaims", 0, 0.5) == expected
    assert build_reward(f"{{clip: {{reward: '{MODULE}:exclaims', low: 0, high: 0.5}}}}") == expected
    assert as_reward("ends_sentence") == EndsSentence()
    assert WeightedSum([(2, "ends_sentence")]) == 2 * EndsSentence()


def test_a_function_that_gets_arguments_makes_the_reward() -> None:
    reward = build_reward({f"{MODULE}:make_shorter_than": {"limit": 3}})
    assert reward(completions=["ab", "abc"]) == [1.0, 0.0]


def test_a_name_can_be_given_to_a_functions_term() -> None:
    reward = build_reward({"named": {"function": f"{MODULE}:exclaims", "name": "loud"}})
    assert reward == as_reward(exclaims, name="loud")
    assert score_completions(reward, ["a"], ["b!"], {}, [[1]]).terms == {"loud": [1.0]}


def test_what_has_a_name_is_written_by_it() -> None:
    assert reward_to_data(textgym.rewards.reference_task) == "reference_task"
    assert reward_to_data(EndsSentence()) == "ends_sentence"
    assert reward_to_data(exclaims) == f"{MODULE}:exclaims"
    assert reward_to_data(0.5 * EndsSentence() - as_reward(exclaims)) == [
        {"ends_sentence": None, "weight": 0.5},
        {f"{MODULE}:exclaims": None, "weight": -1.0},
    ]


def test_what_cannot_be_found_again_is_not_written() -> None:
    def inner(completions: Sequence[str], **columns: Any) -> list[float]:
        return [0.0] * len(completions)

    with pytest.raises(ValueError, match="has no name that it can be found again by; register it by register_reward"):
        reward_to_data(as_reward(inner))


@pytest.mark.parametrize(
    ("spec", "start"),
    [
        ("[{keywords: ", "The reward '[{keywords: ' is not YAML: "),
        (
            "{keywords: {word: [a]}}",
            "Reward 'keywords' has no argument 'word'. Did you mean 'words'? It takes words, name.",
        ),
    ],
)
def test_a_line_that_is_not_well_formed_is_refused(spec: str, start: str) -> None:
    with pytest.raises(ValueError, match="keywords") as caught:
        resolve_reward(spec)
    assert str(caught.value).startswith(start)
