"""`check_reward` finds each way of breaking the contract, and leaves good rewards alone."""

import itertools
import random
from collections.abc import Sequence
from typing import Any

import pytest

import textgym.rewards
from textgym.rewards import EndsSentence, Keywords, NumericOrder, Readability, Repetition, Whiten, check_reward


def divides(completions: Sequence[str], **columns: Any) -> list[float]:
    return [1 / len(text) for text in completions]


def only_ascii(completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(len(text.encode("ascii"))) for text in completions]


def one_short(completions: Sequence[str], **columns: Any) -> list[float]:
    return [1.0] * min(len(completions), 50)


def changes_its_input(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    completions.sort(reverse=True)
    completions[0] = ""
    return [1.0] * len(prompts)


def too_high(completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(len(text)) for text in completions]


too_high.score_range = (0.0, 100.0)  # type: ignore[attr-defined]


def knows_the_answer(completions: Sequence[str], answer: Sequence[str], **columns: Any) -> list[float]:
    return [float(text == one) for text, one in zip(completions, answer, strict=True)]


@pytest.mark.parametrize(
    "reward",
    [
        Keywords(["sea", "海"]),
        EndsSentence(),
        Readability(),
        NumericOrder(),
        Repetition(unit="tokens"),
        textgym.rewards.reference_task,
        "reference_task",
        "[{keywords: {words: [sea]}, weight: 2}, ends_sentence]",
    ],
    ids=repr,
)
def test_rewards_that_keep_the_contract_pass_without_a_warning(reward: Any) -> None:
    check_reward(reward)


@pytest.mark.parametrize(
    ("reward", "lines"),
    [
        (divides, ["- an empty completion: Reward 'divides' raised ZeroDivisionError (division by zero)"]),
        (
            only_ascii,
            [
                "- Chinese text: Reward 'only_ascii' raised UnicodeEncodeError",
                "- emoji and combining characters: Reward",
                "- text from right to left: Reward",
                "- control characters and line separators: Reward",
            ],
        ),
        (one_short, ["- 100 completions: Reward 'one_short' must return one entry per completion, got 50 for 100;"]),
        (too_high, ["- a long completion: the score 8200.0 is outside of its score_range, (0.0, 100.0)"]),
        (
            lambda **columns: [float("nan")] * len(columns["prompts"]),
            ["- one completion: Reward 'lambda' must give each"],
        ),
    ],
)
def test_what_breaks_the_contract_is_listed_case_by_case(reward: Any, lines: list[str]) -> None:
    with pytest.raises(ValueError, match="breaks the contract") as caught:
        check_reward(reward)
    found = str(caught.value).split("\n")[1:]
    for line in lines:
        assert any(one.startswith(line) for one in found), found


def test_a_reward_that_changes_its_input_is_found() -> None:
    with pytest.raises(ValueError, match="it changes the lists that it is given, which others read after it"):
        check_reward(changes_its_input)


def test_columns_are_passed_on() -> None:
    check_reward(knows_the_answer, columns={"answer": "yes"})
    with pytest.raises(ValueError, match="missing 1 required positional argument: 'answer'"):
        check_reward(knows_the_answer)


def test_scores_that_change_are_warned_of() -> None:
    generator = random.Random(0)
    count = itertools.count()

    def noisy(completions: Sequence[str], **columns: Any) -> list[float]:
        return [generator.random() for _ in completions]

    def drifting(completions: Sequence[str], **columns: Any) -> list[float]:
        return [float(next(count))] * len(completions)

    with pytest.warns(UserWarning, match="gives the same completion in one batch"), pytest.warns(match="pickled"):
        check_reward(noisy)
    with pytest.warns(UserWarning, match="other scores when it is called again"), pytest.warns(match="pickled"):
        check_reward(drifting)
    with pytest.warns(UserWarning, match="its scores depend on the batch|when it is called again|depend on the batch"):
        check_reward(Whiten(Keywords(["calm"])))
