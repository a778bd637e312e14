"""GPT-2's blocks in plain operations give the hidden states and the gradients of its own forward pass."""

import pytest
import torch
from torch import Tensor
from transformers import GPT2Model

from tests.agents.tiny import gpt2_config, language_model
from textgym.agents.gpt2_blocks import embedded, through_blocks
from textgym.agents.gpt2_step import is_plain_gpt2

VOCAB_SIZE = 12


def unlike_init(device: str = "cpu", width: int = 32) -> GPT2Model:
    """A small trunk whose norms and biases, which start at 1 and 0, have numbers of their own."""
    trunk = language_model(gpt2_config(n_embd=width, n_head=4)).base_model
    assert is_plain_gpt2(trunk)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1 * (32 / width) ** 0.5)
    trunk.to(torch.device(device))  # type: ignore[arg-type]
    return trunk


def tokens(device: str = "cpu", n_rows: int = 3) -> Tensor:
    return torch.randint(VOCAB_SIZE, (n_rows, 9), generator=torch.Generator().manual_seed(1)).to(device)


def gradients(trunk: GPT2Model, hidden: Tensor) -> list[Tensor]:
    """Gradients of a sum in which each entry has a weight of its own."""
    trunk.zero_grad()
    weights = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(2)).to(hidden.device)
    (weights * hidden).sum().backward()
    return [parameter.grad.clone() for parameter in trunk.parameters() if parameter.grad is not None]


@pytest.mark.equality
@pytest.mark.parametrize("is_checkpointed", [False, True])
def test_hidden_states_and_gradients_are_those_of_the_forward_pass(is_checkpointed: bool) -> None:
    trunk = unlike_init()
    expected = trunk(tokens()).last_hidden_state
    theirs = gradients(trunk, expected)
    hidden = through_blocks(trunk, embedded(trunk, tokens()), torch.float32, is_checkpointed)
    ours = gradients(trunk, hidden)
    torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=0)
    assert len(ours) == len(theirs) == len(list(trunk.parameters()))
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_in_bfloat16_they_are_as_near_to_the_exact_ones_as_the_forward_pass_under_autocast(device: str) -> None:
    trunk = unlike_init(device)
    exact = trunk(tokens(device)).last_hidden_state
    exact_gradients = gradients(trunk, exact)
    with torch.autocast(device, torch.bfloat16):
        autocast = trunk(tokens(device)).last_hidden_state
    autocast_gradients = gradients(trunk, autocast.float())
    hidden = through_blocks(trunk, embedded(trunk, tokens(device)), torch.bfloat16, False)
    assert hidden.dtype == torch.float32
    assert (hidden - exact).abs().mean() <= 1.5 * (autocast - exact).abs().mean()
    for own, other, exact_one in zip(gradients(trunk, hidden), autocast_gradients, exact_gradients, strict=True):
        assert own.dtype == torch.float32
        assert (own - exact_one).norm() <= 1.5 * (other - exact_one).norm() + 1e-6


@pytest.mark.cuda
@pytest.mark.parametrize("width", [32, 512])
def test_a_gpu_is_as_near_to_the_exact_numbers_as_the_cpu_for_rows_of_any_length(width: int) -> None:
    """Many wide rows by a compiled function."""
    for n_rows, length in ((64, 9), (128, 5), (1, 7)):
        exact, on_cpu, on_gpu = (
            hidden_and_gradients(device, dtype, width, n_rows, length)
            for device, dtype in (("cpu", torch.float64), ("cpu", torch.float32), ("cuda", torch.float32))
        )
        for right, theirs, ours in zip(exact, on_cpu, on_gpu, strict=True):
            assert (ours - right).norm() <= 4 * (theirs - right).norm() + 1e-6 * right.norm()


def hidden_and_gradients(device: str, dtype: torch.dtype, width: int, n_rows: int, length: int) -> list[Tensor]:
    trunk = unlike_init(device, width).type(dtype)
    hidden = through_blocks(trunk, embedded(trunk, tokens(device, n_rows)[:, :length]), dtype, False)
    return [tensor.detach().cpu().double() for tensor in (hidden, *gradients(trunk, hidden))]
