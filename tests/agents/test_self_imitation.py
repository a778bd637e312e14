"""Replayed episodes: drawn anew for each update, from before it, and neither its measure of KL nor its baseline."""

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import configure

from tests.agents.test_judging import judged
from tests.agents.tiny import language_model, letter_task
from tests.agents.twins import collect
from textgym.agents import PPO, TextGenVecEnv
from textgym.agents.flat_episodes import EpisodeRecord
from textgym.agents.self_imitation import MAX_COPIES, EpisodeArchive


def algorithm(**settings: Any) -> PPO:
    defaults = {"n_steps": 30, "n_epochs": 2, "batch_size": 40, "seed": 0, "device": "cpu", "learning_rate": 1e-2}
    kwargs = {"model": language_model()}
    env = TextGenVecEnv(3, letter_task())
    model = PPO("GPT2Policy", env, self_imitation=0.9, **{**defaults, "policy_kwargs": kwargs, **settings})
    model.set_logger(configure(None, []))
    return model


def collect_next(model: PPO) -> int:
    """Collect a rollout, and return how many of its episodes are new."""
    before = model.n_episodes_started
    collect(model)
    return model.n_episodes_started - before


def test_a_rollout_replays_none_of_its_own_episodes() -> None:
    model = algorithm()
    n_new = collect_next(model)
    assert len(model.rollout_buffer.lengths) == n_new
    assert len(model.archive)


def test_kl_and_the_gap_of_log_probabilities_are_those_of_new_episodes_alone() -> None:
    kwargs = {"model": language_model(), "autocast": "bfloat16"}
    model = algorithm(learning_rate=1e-3, kl_coef=0.1, kl_target=5.0, kl_horizon=50, policy_kwargs=kwargs)
    stored: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    charge = model._charge_kl

    def watched(n_episodes: int, n_tokens: int) -> None:
        buffer = model.rollout_buffer
        assert buffer.ref_log_prob is not None
        assert buffer.sampled_log_prob is not None
        stored.append((buffer.old_log_prob.clone(), buffer.ref_log_prob.clone(), buffer.sampled_log_prob.clone()))
        charge(n_episodes, n_tokens)

    model._charge_kl = watched  # type: ignore[method-assign]
    collect(model)
    model.train()
    price = model.kl_price
    n_new = collect_next(model)
    lengths = model.rollout_buffer.lengths
    assert len(lengths) > n_new
    n_tokens = int(lengths[:n_new].sum())
    log_prob, reference, sampled = (tensor[:n_tokens] for tensor in stored[-1])
    logged = model.logger.name_to_value
    assert logged["rollout/log_prob_gap"] == pytest.approx(float((log_prob - sampled).abs().mean()))
    kl = float((log_prob - reference).sum()) / n_new
    assert logged["rollout/kl"] == pytest.approx(kl)
    proportional_error = np.clip(kl / 5.0 - 1, -0.2, 0.2)
    assert model.kl_price == pytest.approx(price * (1 + proportional_error * n_new / 50))


def test_what_is_replayed_is_drawn_anew_above_what_a_tenth_of_the_new_episodes_reach() -> None:
    model = algorithm(reference=None)
    drawn: list[float] = []
    baselines: list[float] = []

    def watched(count: int, baseline: float, generator: np.random.Generator) -> list[EpisodeRecord]:
        baselines.append(baseline)
        drawn.append(generator.random())
        return []

    model.archive.sample = watched  # type: ignore[method-assign]
    for _ in range(3):
        collect(model)
        buffer = model.rollout_buffer
        sums = sorted(float(rewards.sum()) for rewards in buffer.rewards.split(buffer.lengths.tolist()))
        assert sums[0] < sums[-2]
        assert baselines[-1] == pytest.approx(np.quantile(sums, 0.9))
        model.train()
    assert len(set(drawn)) == 3


def test_a_single_good_episode_among_many_comes_no_more_than_a_few_times() -> None:
    items = [item._replace(rewards=torch.zeros_like(item.rewards)) for item in judged(letter_task(), 8)]
    items[3].rewards[-1] = 1.0
    archive = EpisodeArchive(per_prompt=10)
    archive.add(items)
    assert len(archive) == 8
    assert len(archive.sample(40, 0.5, np.random.default_rng(0))) == MAX_COPIES
    assert len(archive.sample(2, 0.5, np.random.default_rng(0))) == 2
