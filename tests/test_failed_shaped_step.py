"""A step whose reward fails is as if it had not been, also for rows beside it that are paid on the way."""

from typing import Any

import numpy as np
import pytest

from tests.fakes import EOS_TOKEN_ID, byte_tokenizer, count_a, tokens
from textgym.core import StepResult, TextCore
from textgym.reward_protocol import RewardError
from textgym.rewards import PotentialShaping
from textgym.task import TextTask


class FailsOnce:
    """Pay 1 for each letter a, but where a failure is due, fail at a text with a b in it."""

    is_due = False

    def __call__(self, prompts: list[str], completions: list[str], **columns: object) -> list[float]:
        if self.is_due and any("b" in completion for completion in completions):
            self.is_due = False
            raise RuntimeError("no judgement today")
        return count_a(prompts, completions)


def two_rows(reward: Any) -> TextCore:
    task = TextTask(byte_tokenizer(), ["one", "two"], PotentialShaping(reward), max_prompt_tokens=6, max_new_tokens=5)
    core = TextCore(task, 2)
    core.schedule.seed(0)
    core.begin()
    return core


def step(core: TextCore, first: int, second: int) -> StepResult:
    return core.step(core.contexts.array([first, second]))


def test_a_row_beside_one_whose_score_failed_is_paid_the_same_when_the_step_is_made_again() -> None:
    a, b, c = tokens("abc")
    reward = FailsOnce()
    plain, failing = two_rows(count_a), two_rows(reward)
    for core in (plain, failing):
        step(core, b, a)
    reward.is_due = True
    with pytest.raises(RewardError, match="no judgement today"):
        step(failing, EOS_TOKEN_ID, a)
    paid = []
    for core in (plain, failing):
        results = [step(core, EOS_TOKEN_ID, a)]
        alone = np.array([False, True])
        results += [core.step(core.contexts.array([c, token]), alone) for token in (c, a, a)]
        paid.append([result.rewards.tolist() for result in results])
    assert paid[0] == paid[1]
    assert paid[0] == [[0.0, 1.0], [0.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
