"""A function that is compiled gives what it gives as it is written, for any number of rows, and where nothing compiles.

GPUs apart, it is compiled on the CPU here, by the same compiler.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GPT2Model

from tests.agents.tiny import gpt2_config, language_model
from textgym.agents import chunked_head, gpt2_blocks, gpt2_step, gpu_path, sampling
from textgym.agents import fused as module
from textgym.agents.chunked_head import chunked_head_statistics
from textgym.agents.fused import Fused, fused
from textgym.agents.gpt2_blocks import at_decisions, embedded, through_blocks
from textgym.agents.gpt2_step import GPT2Step, is_plain_gpt2
from textgym.agents.kv_cache import RowCache
from textgym.agents.sampling import draw_with_log_prob
from textgym.agents.text_passes import text_passes


def plain(rows: Tensor, others: Tensor, scale: float) -> Tensor:
    return (rows.softmax(dim=-1) * scale).sum(dim=-1) + others


@pytest.fixture(name="compiling")
def _compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_compiled_for", lambda tensor: True)
    torch._dynamo.reset()


def test_on_the_cpu_a_function_runs_as_it_is_written() -> None:
    calls = []

    def counted(rows: Tensor) -> Tensor:
        calls.append(len(rows))
        return 2 * rows

    run = fused(least_rows=1, least_width=1)(counted)
    assert torch.equal(run(torch.ones(3, 4)), torch.full((3, 4), 2.0))
    run(torch.ones(5, 4))
    assert calls == [3, 5]


@pytest.mark.usefixtures("compiling")
def test_compiled_once_it_serves_any_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = []

    def counting(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        graphs.append(graph)
        return graph.forward

    really = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, fullgraph: really(function, backend=counting))
    run = fused(least_rows=3, least_width=8)(plain)
    for n_rows in (6, 3, 17):
        rows, others = torch.randn(n_rows, 8), torch.randn(n_rows)
        torch.testing.assert_close(run(rows, others, 0.5), plain(rows, others, 0.5))
    assert len(graphs) == 1


def numbers_of_a_head() -> list[Tensor]:
    """Log-probabilities, entropies and their gradients, of a wide vocabulary and two numbers of decisions."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(16_400, 8, generator=generator).requires_grad_()
    found: list[Tensor] = []
    for n_rows in (130, 150):
        hidden = torch.randn(n_rows, 8, generator=generator).requires_grad_()
        token_ids = torch.randint(16_400, (n_rows,), generator=generator)
        statistics = chunked_head_statistics(
            hidden, weight, token_ids, 0.7, lambda logits, rows: None, torch.float32, 64
        )
        torch.stack(statistics).square().sum().backward()
        assert hidden.grad is not None
        found += [*statistics, hidden.grad]
    assert weight.grad is not None
    return [*found, weight.grad]


def wide_trunk() -> GPT2Model:
    trunk = language_model(gpt2_config(n_embd=512, n_head=8)).base_model
    assert is_plain_gpt2(trunk)
    return trunk


def numbers_of_blocks() -> list[Tensor]:
    """Hidden states and gradients of two wide blocks, for rows of two shapes, and hidden states without gradients."""
    trunk = wide_trunk()
    generator = torch.Generator().manual_seed(1)
    found: list[Tensor] = []
    for shape in ((60, 9), (130, 4)):
        input_ids = torch.randint(12, shape, generator=generator)
        hidden = through_blocks(trunk, embedded(trunk, input_ids), torch.float32, False)
        # Not their squares, whose sum the last norm keeps as it is.
        (hidden * torch.randn(hidden.shape, generator=generator)).sum().backward()
        found.append(hidden)
        with torch.no_grad():
            found.append(through_blocks(trunk, embedded(trunk, input_ids), torch.float32, False))
    for n_groups in (65, 80):
        # Two texts each that begin alike.
        beginnings = torch.randint(12, (n_groups, 5), generator=generator).repeat_interleave(2, dim=0)
        input_ids = torch.cat([beginnings, torch.randint(12, (2 * n_groups, 4), generator=generator)], dim=1)
        is_decision = (torch.arange(9) >= 4).expand(input_ids.shape)
        (texts,), _ = text_passes(input_ids, is_decision, most_positions=10_000)
        hidden = embedded(trunk, input_ids).flatten(0, 1)[texts.positions]
        states = at_decisions(trunk, hidden, texts, 0, torch.float32, False)
        (states * torch.randn(states.shape, generator=generator)).sum().backward()
        found.append(states)
    return found + [parameter.grad for parameter in trunk.parameters() if parameter.grad is not None]


def numbers_of_decoding() -> list[Tensor]:
    """Hidden states of a wide GPT-2 step by step, and tokens of a wide vocabulary, drawn."""
    trunk = wide_trunk()
    generator = torch.Generator().manual_seed(2)
    cache = RowCache(2, 64, 9, torch.device("cpu"))
    step, found = GPT2Step(trunk, 64), []
    with torch.no_grad():
        for position in range(4):
            positions = torch.full((64, 1), position)
            input_ids = torch.randint(12, (64, 1), generator=generator)
            cache.select(positions)
            found.append(step(input_ids, positions, cache))
        for n_rows in (64, 70):
            logits = torch.randn(n_rows, 16_400, generator=generator)
            found += draw_with_log_prob(logits, torch.rand(n_rows, generator=generator))
    return found


def numbers_of_draws_on_a_gpu() -> list[Tensor]:
    """Tokens of a wide vocabulary and their log-probabilities, drawn in the way that GPUs go."""
    generator = torch.Generator().manual_seed(3)
    found: list[Tensor] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu_path, "is_for_gpu", lambda tensor: True)
        for n_rows in (64, 70, 90):
            logits = torch.randn(n_rows, 16_400, generator=generator)
            found += draw_with_log_prob(logits, torch.rand(n_rows, generator=generator))
    return found


BLOCK_FUNCTIONS = (gpt2_blocks._into_attention, gpt2_blocks._attended, gpt2_blocks._behind_attention)


@pytest.mark.slow
@pytest.mark.usefixtures("without_c")
# PyTorch hides this one by itself unless warnings are errors.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize(
    ("numbers", "functions"),
    [
        (numbers_of_a_head, (chunked_head._statistics, chunked_head._gradient)),
        (numbers_of_blocks, BLOCK_FUNCTIONS),
        (numbers_of_decoding, (gpt2_step._fused_add_and_norm, sampling._draw_with_log_prob)),
        (numbers_of_draws_on_a_gpu, (sampling._draw_with_log_prob,)),
    ],
)
def test_what_agents_compile_gives_the_same_numbers(
    numbers: Callable[[], list[Tensor]], functions: tuple[Fused[..., Any], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_written = numbers()
    for function in functions:
        monkeypatch.setattr(function, "compiled", None)
    monkeypatch.setattr(module, "is_compiled_for", lambda tensor: True)
    found = numbers()
    assert all(function.compiled is not None and not function.has_failed for function in functions)
    assert len(found) == len(as_written) > 4
    for ours, theirs in zip(found, as_written, strict=True):
        assert (ours - theirs).float().norm() <= 1e-4 * theirs.float().norm()


def test_a_mistake_in_the_arguments_is_no_failure_to_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_compiled_for", lambda tensor: True)
    run = fused(least_rows=3, least_width=8)(plain)
    with pytest.raises(Exception, match="size"):
        run(torch.randn(3, 8), torch.randn(5), 0.5)
    assert not run.has_failed


def test_without_a_compiler_for_this_python_one_warning_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(function: object, fullgraph: bool) -> None:
        raise RuntimeError("torch.compile is not supported on Python 4")

    monkeypatch.setattr(module, "is_compiled_for", lambda tensor: True)
    monkeypatch.setattr(torch, "compile", unsupported)
    run = fused(least_rows=3, least_width=8)(plain)
    rows, others = torch.randn(3, 8), torch.randn(3)
    with pytest.warns(UserWarning, match="plain runs slower: torch.compile is not supported on Python 4"):
        assert torch.equal(run(rows, others, 0.5), plain(rows, others, 0.5))
    assert torch.equal(run(rows, others, 0.5), plain(rows, others, 0.5))


@pytest.mark.usefixtures("compiling")
def test_where_nothing_compiles_one_warning_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(*args: object) -> None:
        raise RuntimeError("there is no C compiler")

    really = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, fullgraph: really(function, backend=no_compiler))
    run = fused(least_rows=3, least_width=8)(plain)
    rows, others = torch.randn(3, 8), torch.randn(3)
    with pytest.warns(UserWarning, match="plain runs slower: .*there is no C compiler"):
        assert torch.equal(run(rows, others, 0.5), plain(rows, others, 0.5))
    # A second warning would be an error here.
    assert torch.equal(run(rows, others, 0.5), plain(rows, others, 0.5))
