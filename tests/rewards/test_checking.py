"""`check_reward` finds each way of breaking the contract, and leaves good rewards alone."""

import itertools
import random
import threading
from collections.abc import Sequence
from typing import Any

import pytest

import textgym.rewards
from textgym.reward_protocol import RewardError, RewardResult, evaluate_reward
from textgym.rewards import (
    EndsSentence,
    Keywords,
    LengthWindow,
    NumericOrder,
    PotentialShaping,
    Readability,
    Repetition,
    RewardFunction,
    Whiten,
    check_reward,
)


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


def never_a_number(prompts: Sequence[str], **columns: Any) -> list[float]:
    return [float("nan")] * len(prompts)


def needs_a_prompt(prompts: Sequence[str], **columns: Any) -> list[float]:
    return [float(prompt[0] == "T") for prompt in prompts]


class Steps:
    """Scores well, but cannot read unfinished texts."""

    def __call__(self, completions: Sequence[str], **columns: Any) -> list[float]:
        return [0.0] * len(completions)

    def prefix_rewards(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> list[float]:
        return [1 / len(prefix) for prefix in prefixes]

    def potentials(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> list[float]:
        return [float("nan")] * len(prefixes)


class Promises(RewardFunction):
    """Asks for shaping, and forgets some texts."""

    @property
    def is_shaped(self) -> bool:
        return True

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        return [0.0] * len(completions)

    def shaping_potentials(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> list[float]:
        return [0.0] * min(len(prefixes), 50)


class Inconsistent:
    """Gives one score where it is called, and another where it is asked for its terms."""

    def __call__(self, completions: Sequence[str], **columns: Any) -> list[float]:
        return [1.0] * len(completions)

    def evaluate(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> RewardResult:
        return RewardResult([2.0] * len(completions), {"two": [2.0] * len(completions)}, [None] * len(completions))


class Forgetful:
    """Loses its setting on the way to another process."""

    def __init__(self, score: float) -> None:
        self.score = score

    def __call__(self, completions: Sequence[str], **columns: Any) -> list[float]:
        return [self.score] * len(completions)

    def __getstate__(self) -> dict[str, Any]:
        return {"score": 0.0}


class OfItsThread:
    """Works where it was made, as a connection to SQLite does."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()

    def __call__(self, completions: Sequence[str], **columns: Any) -> list[float]:
        if threading.get_ident() != self.thread:
            raise RuntimeError("not here")
        return [0.0] * len(completions)


class Upside(Steps):
    score_range = (1.0, 0.0)
    prefix_rewards = potentials = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    "reward",
    [
        Keywords(["sea", "海"]),
        EndsSentence(),
        Readability(),
        NumericOrder(),
        Repetition(unit="tokens"),
        2 * PotentialShaping(Keywords(["calm sea"])) + LengthWindow(2, 20),
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
        (never_a_number, ["- one completion: Reward 'never_a_number' must give each"]),
        (
            needs_a_prompt,
            [
                "- an empty prompt: Reward 'needs_a_prompt' raised IndexError",
                "    prompt: ''",
                "    likewise: an empty",
            ],
        ),
        (
            Steps(),
            [
                "- prefix_rewards of an empty completion: Reward 'steps' raised ZeroDivisionError (division by zero)",
                "- potentials of one completion: Reward 'steps' must give each completion a finite number, got nan",
                "    likewise: potentials of an empty completion; potentials of white space alone; potentials of",
            ],
        ),
        (
            Promises(),
            ["- shaping_potentials of 100 completions: Reward 'promises' must return one entry per completion"],
        ),
        (Inconsistent(), ["- evaluate(): it gives the scores [2.0, 2.0], a call [1.0, 1.0] of the same completions"]),
        (Forgetful(5.0), ["- a pickled copy, as in another process: it gives [0.0, 0.0] where the reward gives [5.0"]),
        (OfItsThread(), ["- in another thread, as where agents score: Reward 'of_its_thread' raised RuntimeError"]),
        (Upside(), ["- score_range: it must be None or two numbers (low, high), got (1.0, 0.0)"]),
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


def test_a_warning_is_given_beside_a_problem() -> None:
    with pytest.warns(UserWarning, match="cannot be pickled"), pytest.raises(ValueError, match="breaks the contract"):
        check_reward(lambda completions, **columns: [float("nan")] * len(completions))


def test_terms_have_to_be_a_dict_of_names() -> None:
    class Unnamed(Inconsistent):
        def evaluate(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> RewardResult:
            return RewardResult([1.0], [1.0], [None])  # type: ignore[arg-type]

    with pytest.raises(
        RewardError, match=r"evaluate\(\) of reward 'unnamed' must give terms as a dict of names, got \["
    ):
        evaluate_reward(Unnamed(), ["Q"], ["a"], {})


def test_a_wrong_value_is_shown_in_full() -> None:
    def says(completions: Sequence[str], **columns: Any) -> list[Any]:
        return ["a score of about one half, give or take a little"]

    with pytest.raises(RewardError, match="got 'a score of about one half, give or take a little' of type str"):
        evaluate_reward(says, ["Q"], ["a"], {})


def test_a_reward_for_conversations_on_plain_text_says_what_to_do() -> None:
    def first_message(completions: Sequence[Any], **columns: Any) -> list[float]:
        return [float(len(completion[0]["content"])) for completion in completions]

    with pytest.raises(
        RewardError, match=r"if it reads messages, as many of TRL's do, give Conversational\(…\) of it, on"
    ):
        evaluate_reward(first_message, ["Q"], ["a"], {})
