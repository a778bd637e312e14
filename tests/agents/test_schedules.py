"""Schedules go from training's beginning to its end and not beyond, though its last rollout holds more tokens."""

from pathlib import Path
from typing import Any

import pytest
from stable_baselines3.common.callbacks import BaseCallback

from tests.agents.tiny import language_model, letter_task
from textgym.agents import A2C, DQN, PPO, TextGenVecEnv


def linear(progress_remaining: float) -> float:
    return 1e-3 * progress_remaining


class Rates(BaseCallback):
    """What an optimiser's rate and the price of KL were at each update, and how many tokens there were before it."""

    def __init__(self) -> None:
        super().__init__()
        self.rates: list[float] = []
        self.prices: list[float] = []
        self.tokens_before: list[int] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        self.tokens_before.append(self.model.num_timesteps)
        logged = self.model.logger.name_to_value
        if "train/learning_rate" in logged:
            self.rates.append(logged["train/learning_rate"])
        if "rollout/kl_coef" in logged:
            self.prices.append(logged["rollout/kl_coef"])


def algorithm(kind: Any, **settings: Any) -> Any:
    env = TextGenVecEnv(3, letter_task())
    return kind("GPT2Policy", env, seed=0, device="cpu", policy_kwargs={"model": language_model()}, **settings)


def learned(model: Any, n_tokens: int, **how: Any) -> Rates:
    """Train, and return the figures of all updates, the last one's too."""
    rates = Rates()
    model.learn(n_tokens, callback=rates, log_interval=10**9, **how)
    rates._on_rollout_start()
    return rates


@pytest.mark.parametrize("kind", [PPO, A2C])
def test_a_rate_is_that_of_the_tokens_before_the_rollout(kind: Any) -> None:
    seen = learned(algorithm(kind, n_steps=20, learning_rate=linear), 200)
    *began, end = seen.tokens_before
    assert end > 200
    assert len(began) > 2
    # Each rollout's rate is logged until the next one's takes its place.
    assert seen.rates == pytest.approx([linear(1 - tokens / 200) for tokens in began])


def test_training_that_ends_within_its_first_rollout_learns_at_the_first_rate() -> None:
    """Also where it is asked for again and again."""
    model = algorithm(PPO, n_steps=20, learning_rate=linear)
    for _ in range(3):
        assert learned(model, 10).rates[-1] == 1e-3
        assert learned(model, 10, reset_num_timesteps=False).rates[-1] > 0


def test_a_price_of_kl_begins_anew_with_each_training(tmp_path: Path) -> None:
    model = algorithm(PPO, n_steps=20, kl_coef=lambda progress: 0.5 * progress)
    for _ in range(2):
        seen = learned(model, 100)
        *began, _ = seen.tokens_before
        assert seen.prices[-len(began) :] == pytest.approx([0.5 * (1 - tokens / 100) for tokens in began])
    model.save(tmp_path / "saved.zip")
    loaded = PPO.load(tmp_path / "saved.zip", env=model.env, device="cpu", reference=language_model())
    assert learned(loaded, 10).prices[-1] == 0.5


def test_a_value_based_algorithms_rate_ends_at_0() -> None:
    settings = {"train_freq": 50, "learning_starts": 50, "batch_size": 20}
    model = algorithm(DQN, learning_rate=linear, **settings)
    seen = learned(model, 120)
    assert model.num_timesteps > 120
    assert seen.rates[0] > seen.rates[-1] == 0.0


def test_a_rate_below_0_is_an_error() -> None:
    model = algorithm(PPO, n_steps=20, learning_rate=lambda progress: 2 * progress - 1)
    message = r"^learning_rate must be at least 0, got -0\.\d+ from its schedule at the remaining progress 0\.\d+\.$"
    with pytest.raises(ValueError, match=message):
        model.learn(500)
