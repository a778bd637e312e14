"""Where attention is by sums of rows, how keys lie for it, and how prompts are read from them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.agents.tiny import letter_policy, letter_task
from textgym.agents import gpt2_step
from textgym.agents.generation import generate_episodes
from textgym.agents.kv_cache import RowCache
from textgym.agents.weighted_sums import are_sums_fast


def test_a_head_s_keys_lie_side_by_side_with_room_for_few_more_than_are_attended_to() -> None:
    cache = RowCache(1, 2, 200, torch.device("cpu"))
    cache.has_key_columns = True
    (layer,) = cache.row_layers
    for length, room in [(3, 64), (64, 64), (65, 128), (199, 200), (5, 200)]:
        cache.select(torch.full((2, 1), length - 1), None, length)
        layer.update(torch.ones(2, 3, 1, 4), torch.ones(2, 3, 1, 4))
        assert layer.key_columns.shape == (2, 3, 4, room)
        assert layer.key_columns.is_contiguous()
        assert layer.key_columns[:, :, :, length - 1].eq(1).all()


def test_sums_of_rows_are_for_float32_on_cpus_that_fbgemm_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert are_sums_fast(cpu, torch.float32) == ("fbgemm" in torch.backends.quantized.supported_engines)
    assert not are_sums_fast(cpu, torch.bfloat16)
    assert not are_sums_fast(torch.device("cuda"), torch.float32)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert not are_sums_fast(cpu, torch.float32)


def test_attention_to_key_columns_reads_prompts_by_the_kernel_that_keeps_no_scores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gpt2_step, "are_sums_fast", lambda *_: True)
    strides: list[int] = []
    attend = nn.functional.scaled_dot_product_attention

    def noted(queries: Tensor, keys: Tensor, values: Tensor, **options: Any) -> Tensor:
        strides.append(keys.stride(-1))
        return attend(queries, keys, values, **options)

    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", noted)
    task = letter_task()
    list(generate_episodes(letter_policy(task), task, range(4), seed=1, num_rows=2))
    assert set(strides) == {1}
