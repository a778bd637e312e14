"""Every algorithm on a CUDA device, in float32 and in bfloat16: it begins as on the CPU, and what it saves loads there.

Each is skipped where there is no such device.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

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
from textgym.agents.decode_attention import attention_kernel
from textgym.agents.generation import generate_episodes
from textgym.agents.precision import Autocast
from textgym.benchmarks.throughput.inputs import Setting, end_texts_at_random, make_model, make_unequal_task

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
    model = language_model(gpt2_config(n_embd=64, n_head=4))
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
    initial = language_model(gpt2_config(n_embd=64, n_head=4)).state_dict()
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


def wide_algorithm(device: str, autocast: Autocast | None = None) -> PPO:
    """So large a network that it is compiled; texts of unequal length, rows that are refilled."""
    setting = Setting(n_layer=2, n_embd=512, n_head=8, vocab_size=16_400, prompt_tokens=5, new_tokens=24)
    task = make_unequal_task(setting, 100)
    model = end_texts_at_random(make_model(setting), 8)
    policy_kwargs = {"model": model, "autocast": autocast}
    return PPO(
        "GPT2Policy",
        TextGenVecEnv(4, task),
        n_steps=400,
        batch_size=700,
        n_epochs=2,
        learning_rate=1e-4,
        decode_rows=64,
        policy_kwargs=policy_kwargs,
        seed=0,
        device=device,
    )


@pytest.mark.cuda
def test_a_wide_network_learns_the_same_on_a_cuda_device_and_on_the_cpu() -> None:
    models = [wide_algorithm(device).learn(1) for device in ("cpu", "cuda")]
    assert tokens_of_first_rollout(models[0]) == tokens_of_first_rollout(models[1])
    assert len(set(models[0].rollout_buffer.lengths.tolist())) > 3
    initial = wide_algorithm("cpu").policy.language_model.state_dict()
    ours, theirs = (model.policy.language_model.state_dict() for model in models)
    moved = sum(float((ours[name] - tensor).abs().sum()) for name, tensor in initial.items())
    apart = sum(float((ours[name] - tensor.cpu()).abs().sum()) for name, tensor in theirs.items())
    assert 0 < apart < 0.05 * moved


@pytest.mark.cuda
def test_in_bfloat16_a_wide_network_samples_what_its_updates_score() -> None:
    model = wide_algorithm("cuda", "bfloat16").learn(1, log_interval=1000)
    logged = dict(model.logger.name_to_value)
    assert 0 < logged["rollout/log_prob_gap"] < 0.1
    assert logged["rollout/kl"] == pytest.approx(0, abs=1e-4)


@pytest.mark.cuda
def test_rollouts_take_no_more_memory_one_after_another() -> None:
    """Each has a graph of its own, in the memory of the one before."""
    model = wide_algorithm("cuda", "bfloat16")
    reserved = []
    for _ in range(40):
        list(generate_episodes(model.policy, model.task, range(64), seed=0, num_rows=64))
        reserved.append(torch.cuda.memory_reserved())
    assert reserved[-1] - reserved[2] < 32 * 2**20, reserved


@pytest.mark.cuda
@pytest.mark.parametrize("head_width", [16, 64, 128])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_appends_and_attends_as_pytorch_does(dtype: torch.dtype, head_width: int) -> None:
    kernel = attention_kernel(torch.device("cuda"), dtype, head_width)
    assert kernel is not None
    generator = torch.Generator("cuda").manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device="cuda").to(dtype)

    n_rows, n_heads, context_length = 5, 3, 200
    joined = drawn(n_rows, 3, n_heads, head_width)
    keys, values = (drawn(n_rows, n_heads, context_length, head_width) for _ in range(2))
    positions = torch.tensor([0, 1, 63, 64, 199], device="cuda")
    rows = torch.arange(n_rows, device="cuda")
    new_keys, new_values = keys.clone(), values.clone()
    new_keys[rows, :, positions] = joined[:, 1]
    new_values[rows, :, positions] = joined[:, 2]
    mask = (torch.arange(context_length, device="cuda") <= positions[:, None])[:, None, None]
    queries = joined[:, 0, :, None].float()
    exact = scaled_dot_product_attention(queries, new_keys.float(), new_values.float(), attn_mask=mask)
    nothing = torch.zeros_like(positions)
    attended = kernel(joined, keys, values, positions, rows, nothing)
    assert torch.equal(keys, new_keys)
    assert torch.equal(values, new_values)
    error = (attended.float() - exact[:, :, 0].flatten(1)).norm() / exact.norm()
    assert error < (1e-5 if dtype == torch.float32 else 0.005)
    # What a row borrows it need not have: all but the last row's own first positions are lost.
    n_borrowed = torch.tensor([0, 1, 40, 64, 0], device="cuda")
    for row, length in enumerate(n_borrowed.tolist()[:-1]):
        for cached in (keys, values):
            cached[4, :, :length] = cached[row, :, :length]
            cached[row, :, :length] = torch.nan
        lenders = torch.where(rows == row, 4, rows)
        again = kernel(joined, keys, values, positions, lenders, torch.where(rows == row, n_borrowed, nothing))
        assert torch.equal(again[row], attended[row])
        for cached in (keys, values):
            cached[row, :, :length] = cached[4, :, :length]


def test_no_kernel_is_there_for_the_cpu_nor_for_heads_of_any_width() -> None:
    assert attention_kernel(torch.device("cpu"), torch.float32, 64) is None
    assert attention_kernel(torch.device("cuda"), torch.float32, 48) is None
    assert attention_kernel(torch.device("cuda"), torch.float32, 8) is None
