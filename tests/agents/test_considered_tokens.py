"""Value-based policies: the tokens they consider are kept with the episodes, and exploration begins when it is said."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from tests.agents.tiny import language_model, letter_task
from textgym.agents import DQN, TextGenVecEnv
from textgym.agents.scoring import probable_tokens
from textgym.task import TextTask


def algorithm(task: TextTask | None = None, **settings: Any) -> DQN:
    defaults = {"learning_starts": 20, "train_freq": 60, "batch_size": 20, "gradient_steps": 1, "seed": 0}
    return DQN(
        "GPT2Policy", TextGenVecEnv(3, letter_task() if task is None else task), device="cpu",
        policy_kwargs={"model": language_model()}, **{**defaults, **settings},
    )  # fmt: skip


@pytest.mark.parametrize("buffer_size", [30, 1000])
def test_considered_tokens_stay_with_their_episodes_whatever_the_replay_holds(buffer_size: int) -> None:
    model = algorithm(candidates=4, buffer_size=buffer_size)
    model.learn(150)
    replay = model.replay_buffer
    assert replay is not None
    assert replay.considered is not None
    assert torch.equal(replay.considered, probable_tokens(model.network.exploration.reference, replay, 4))


def test_forbidden_tokens_take_no_place_among_the_considered() -> None:
    banned = [0, 1, 2, 3, 4, 5, 6]
    model = algorithm(letter_task(banned_token_ids=banned), candidates=4)
    model.learn(40)
    assert model.replay_buffer is not None
    considered = model.replay_buffer.considered
    assert considered is not None
    assert not set(considered.flatten().tolist()) & set(banned)


@pytest.mark.parametrize(("learning_starts", "rates"), [(0, [0.25]), (1, [1.0])])
def test_exploration_is_as_scheduled_as_soon_as_learning_starts(learning_starts: int, rates: list[float]) -> None:
    model = algorithm(learning_starts=learning_starts, exploration_initial_eps=0.25)
    seen: list[float] = []
    exploration = model.network.exploration
    at_rate = exploration.at_rate

    @contextmanager
    def watched(rate: float) -> Iterator[None]:
        seen.append(rate)
        with at_rate(rate):
            yield

    exploration.at_rate = watched  # type: ignore[method-assign]
    model.learn(30)
    assert seen == rates
