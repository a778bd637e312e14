"""Every algorithm on a CUDA device, in float32 and in bfloat16: it begins as on the CPU, and what it saves loads there.

Each is skipped where there is no such device.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.agents.tiny import gpt2_config, language_model, letter_task
from textgym.agents import (
    A2C,
    DQN,
    GRPO,
    NLPO,
    PPG,
    PPO,
    QRDQN,
    REINFORCE,
    RLOO,
    TRPO,
    DoubleDQN,
    MaskablePPO,
    TextGenVecEnv,
)

KINDS: list[Any] = [A2C, DQN, GRPO, NLPO, PPG, PPO, QRDQN, REINFORCE, RLOO, TRPO, DoubleDQN, MaskablePPO]
VALUES = (DQN, DoubleDQN, QRDQN)


def algorithm(kind: Any, device: str, autocast: str | None = None) -> Any:
    task = letter_task(completions_per_prompt=2, banned_token_ids=[3], min_new_tokens=2)
    settings: dict[str, Any] = {"learning_rate": 1e-4}
    if kind in VALUES:
        settings |= {"train_freq": 60, "learning_starts": 0, "batch_size": 40, "candidates": 6}
    else:
        settings |= {"n_steps": 30}
    if kind is TRPO:
        settings |= {"target_kl": 0.1, "curvature_share": 1.0}
    model = language_model(gpt2_config(n_embd=32, n_head=4))
    policy_kwargs = {"model": model, "autocast": autocast}
    return kind("GPT2Policy", TextGenVecEnv(2, task), policy_kwargs=policy_kwargs, seed=0, device=device, **settings)


def tokens_of_first_rollout(model: Any) -> list[int]:
    stored: Any = model.replay_buffer if isinstance(model, VALUES) else model.rollout_buffer
    tokens: list[int] = stored.token_ids.tolist()
    return tokens


@pytest.mark.cuda
@pytest.mark.parametrize("kind", KINDS)
def test_an_update_on_a_cuda_device_is_that_of_the_cpu(kind: Any) -> None:
    models = [algorithm(kind, device).learn(1) for device in ("cpu", "cuda")]
    assert models[1].network.device.type == "cuda"
    assert tokens_of_first_rollout(models[0]) == tokens_of_first_rollout(models[1])
    initial = language_model(gpt2_config(n_embd=32, n_head=4)).state_dict()
    ours, theirs = (model.network.language_model.state_dict() for model in models)
    moved = sum(float((ours[name] - tensor).abs().sum()) for name, tensor in initial.items())
    apart = sum(float((ours[name] - tensor.cpu()).abs().sum()) for name, tensor in theirs.items())
    assert moved > 0
    if kind is TRPO:
        # Its conjugate gradient begins at random numbers of the device.
        assert models[1].logger.name_to_value["train/is_line_search_success"] == 1
        return
    # Where a gradient is all but 0, Adam's first step is as long whatever the sign that rounding leaves.
    assert apart < 0.05 * moved


@pytest.mark.cuda
@pytest.mark.parametrize("kind", KINDS)
def test_it_trains_in_bfloat16_and_loads_on_the_cpu(kind: Any, tmp_path: Path) -> None:
    model = algorithm(kind, "cuda", "bfloat16").learn(150)
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())
    assert {parameter.dtype for parameter in model.policy.parameters()} == {torch.float32}
    model.save(tmp_path / "saved.zip")
    loaded = kind.load(tmp_path / "saved.zip", device="cpu")
    for name, tensor in model.policy.state_dict().items():
        assert torch.equal(tensor.cpu(), loaded.policy.state_dict()[name]), name
