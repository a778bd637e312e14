"""What a rollout does when: what needs no reward does not wait for one, and what decoding needed is gone by then."""

import gc
import pickle
import threading
from typing import Any

import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback

from tests.agents.tiny import language_model, letter_policy, letter_task
from textgym.agents import NLPO, PPO, TextGenVecEnv, evaluate, generate_episodes
from textgym.agents.decoder import Decoder
from textgym.agents.host_copies import to_device
from textgym.task import TextTask

SECONDS = 30


def algorithm(task: TextTask, kind: Any = PPO, **settings: Any) -> PPO:
    of_policy = {"model": language_model(), **settings.pop("policy_kwargs", {})}
    model: PPO = kind(
        "GPT2Policy",
        TextGenVecEnv(4, task),
        n_steps=15,
        batch_size=200,
        seed=0,
        device="cpu",
        policy_kwargs=of_policy,
        **settings,
    )
    return model


class AtEachStep(BaseCallback):
    """Does something to an algorithm at each of its steps."""

    def __init__(self, change: Any) -> None:
        super().__init__()
        self.change = change

    def _on_step(self) -> bool:
        self.change(self.model)
        return True


@pytest.mark.usefixtures("way")
def test_what_needs_no_reward_is_begun_before_the_last_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """And rewards come to the tokens all the same."""
    is_stored = threading.Event()
    store = PPO._store

    def stored(self: PPO, *arguments: Any) -> None:
        store(self, *arguments)
        is_stored.set()

    def patient(completions: list[str], **columns: Any) -> list[float]:
        if not is_stored.wait(SECONDS):
            raise TimeoutError("the rollout waits for its rewards")
        return [float(len(text)) for text in completions]

    monkeypatch.setattr(PPO, "_store", stored)
    model = algorithm(letter_task(reward=patient), reference=None)
    model.learn(1)
    buffer = model.rollout_buffer
    last = torch.from_numpy(buffer.lengths.cumsum() - 1)
    assert float(buffer.rewards.sum()) == float(buffer.rewards[last].sum()) > 0


@pytest.mark.usefixtures("way")
def test_a_rollouts_cache_is_gone_before_it_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    decoders = []
    prepare = PPO._prepare

    def prepared(self: PPO, *arguments: Any) -> None:
        decoders.append(sum(type(one) is Decoder for one in gc.get_objects()))
        prepare(self, *arguments)

    monkeypatch.setattr(PPO, "_prepare", prepared)
    gc.collect()
    algorithm(letter_task()).learn(1)
    assert decoders == [0]


@pytest.mark.parametrize("kind", [PPO, NLPO])
def test_evaluating_between_rollout_and_update_frees_what_the_update_would_begin_with(kind: Any) -> None:
    """And what is learned is the same."""
    held, weights = [], []

    def look(model: Any) -> None:
        held.append(model.policy.memory.first_pass is not None)

    def look_and_evaluate(model: Any) -> None:
        look(model)
        evaluate(model, letter_task(), 4)
        look(model)

    for change in (look, look_and_evaluate):
        held.clear()
        model = algorithm(letter_task(), kind, n_epochs=1, policy_kwargs={"autocast": "bfloat16"})
        model.learn(1, callback=AtEachStep(change))
        assert held[0]
        assert held[-1] == (change is look)
        weights.append(model.policy.state_dict())
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("before", "after"), [(0.5, 0.0), (0.0, 0.5)])
def test_a_share_of_replayed_episodes_may_change_at_any_step(before: float, after: float) -> None:
    model = algorithm(letter_task(), self_imitation=before)
    shares = iter([before] * 2)

    def change(model: Any) -> None:
        model.self_imitation = next(shares, after)

    model.learn(300, callback=AtEachStep(change))
    assert model.self_imitation == after
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())


def test_episodes_are_pickled_with_their_text_and_without_the_task() -> None:
    task = letter_task(reward=lambda completions, **columns: [0.0] * len(completions))
    first = next(generate_episodes(letter_policy(task), task, range(3), seed=1))
    again = pickle.loads(pickle.dumps(first))
    assert again.text == first.text
    assert torch.equal(again.log_prob, first.log_prob)
    assert "token_ids" in repr(again)
    result = evaluate(letter_policy(task), task, 3)
    assert pickle.loads(pickle.dumps(result)).episodes[0].episode.text == result.episodes[0].episode.text


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_a_copy_holds_what_was_copied(device: str) -> None:
    """Whatever becomes of the original, and wherever that is."""
    for size in (0, 1, 100_000):
        original = torch.arange(size).flip(0)
        copied = to_device(original, torch.device(device))
        if device == "cuda":
            original.zero_()
        assert torch.equal(copied.cpu(), torch.arange(size).flip(0))
        assert torch.equal(to_device(copied, torch.device(device)), copied)
