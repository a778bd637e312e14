"""An update ends early where the policy has moved as far as it may."""

from typing import Any

import pytest

from tests.agents.tiny import language_model, letter_task
from textgym.agents import GRPO, PPO, MaskablePPO, TextGenVecEnv


@pytest.mark.parametrize("kind", [PPO, MaskablePPO, GRPO])
@pytest.mark.parametrize(("target_kl", "n_epochs"), [(1e-9, 1), (None, 2)])
def test_a_small_bound_on_kl_leaves_one_epoch_of_two(kind: Any, target_kl: float | None, n_epochs: int) -> None:
    env = TextGenVecEnv(4, letter_task(completions_per_prompt=2))
    model = kind(
        "GPT2Policy", env, n_steps=20, batch_size=30, n_epochs=2, learning_rate=1e-3, target_kl=target_kl, seed=0,
        device="cpu", policy_kwargs={"model": language_model()},
    ).learn(20)  # fmt: skip
    assert model._n_updates == n_epochs
