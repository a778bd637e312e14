"""What is written in C gives the numbers of PyTorch's operations, and decoding does without it where there is none."""

import ctypes
import math
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor
from transformers import GPT2Model

from tests.agents.tiny import gpt2_config, language_model, letter_policy, letter_task
from textgym.agents.c_library import compiled
from textgym.agents.cpu_step import CPUStep, PackedMatrix, cpu_step
from textgym.agents.decoder import SAMPLED, Decoder, Sampling
from textgym.agents.generation import GeneratedEpisode, generate_episodes
from textgym.agents.gpt2_step import GPT2Step
from textgym.agents.kv_cache import RowCache

SOURCE = "double twice(double number) { return 2 * number; }\n"


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def wide_trunk(head_width: int) -> GPT2Model:
    """Make a GPT-2 with two heads, whose norms and biases are those of no other part."""
    model = language_model(gpt2_config(n_embd=2 * head_width, n_positions=90))
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.add_(random(*parameter.shape, seed=number), alpha=0.1)
    return cast(GPT2Model, model.base_model)


@pytest.mark.equality
@pytest.mark.usefixtures("in_c")
@pytest.mark.parametrize("head_width", [4, 64])
@pytest.mark.parametrize("n_rows", [1, 5, 16, 70])
def test_a_step_reads_each_row_to_its_own_end(n_rows: int, head_width: int) -> None:
    """What lies behind a row's end in the cache, NaN here, does not count."""
    trunk = wide_trunk(head_width)
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(12, (n_rows, 90), generator=generator)
    positions = torch.randint(1, 90, (n_rows,), generator=generator)
    cache = RowCache(2, n_rows, 90, torch.device("cpu"))
    step, rows = GPT2Step(trunk, n_rows), torch.arange(n_rows)
    with torch.no_grad():
        everywhere = torch.arange(89).expand(n_rows, -1)
        cache.select(everywhere, rows, 89)
        step(tokens[:, :89], everywhere, cache)
        for layer in cache.row_layers:
            for row, position in enumerate(positions.tolist()):
                layer.keys[row, :, position:] = layer.values[row, :, position:] = math.nan
        cache.select(positions[:, None])
        hidden = step(tokens[rows, positions][:, None], positions[:, None], cache)[:, 0]
        expected = trunk(tokens).last_hidden_state[rows, positions]
    torch.testing.assert_close(hidden, expected, atol=1e-4, rtol=1e-4)


def test_a_packed_matrix_keeps_what_it_was_made_of(in_c: CPUStep) -> None:
    """Inputs and outputs that fill no vector, in both orders of memory."""
    rows = random(21, 37)
    for matrix in (random(37, 19, seed=1), random(19, 37, seed=1).t()):
        for bias in (None, random(19, seed=2)):
            expected = rows @ matrix + (0 if bias is None else bias)
            packed = PackedMatrix(in_c, matrix, bias)
            torch.testing.assert_close(packed(rows), expected, atol=1e-4, rtol=1e-5)
        matrix.zero_()
        torch.testing.assert_close(packed(rows), expected, atol=1e-4, rtol=1e-5)
    assert packed(rows[:0]).shape == (0, 19)


@pytest.mark.parametrize("vocab_size", [2, 64, 100, 8192])
def test_what_is_drawn_from_is_written_where_it_is_wanted(vocab_size: int, in_c: CPUStep) -> None:
    logits = 4 * random(9, vocab_size)
    logits[:, 0] = torch.finfo(torch.float32).min
    uniforms = torch.rand(9, generator=torch.Generator().manual_seed(1))
    probabilities, entropies = torch.empty_like(logits), torch.empty(9)
    drawn = in_c.draw(logits, uniforms, probabilities, entropies)
    for with_them, without in zip(drawn, in_c.draw(logits, uniforms), strict=True):
        assert torch.equal(with_them, without)
    expected = torch.distributions.Categorical(logits=logits)
    torch.testing.assert_close(probabilities, expected.probs, atol=1e-7, rtol=1e-5)
    torch.testing.assert_close(entropies, expected.entropy(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(drawn[1], expected.log_prob(drawn[0]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("spoilt", [math.nan, math.inf])
def test_of_a_spoilt_distribution_a_token_comes_with_a_log_probability_that_says_so(
    spoilt: float, in_c: CPUStep
) -> None:
    logits = random(3, 100)
    logits[1, 40] = spoilt
    token_ids, log_prob = in_c.draw(logits, torch.full((3,), 0.5))
    assert log_prob.isfinite().tolist() == [True, False, True]
    assert (token_ids < 100).all()


@pytest.mark.usefixtures("in_c")
@pytest.mark.parametrize("sampling", [SAMPLED, Sampling(deterministic=True), Sampling(top_k=3, top_p=0.8)])
def test_a_step_leaves_all_rows_in_the_same_state(sampling: Sampling) -> None:
    """Rows that end with the end of sequence, with their budget, at the context's end, and before the first step."""
    task = letter_task(max_new_tokens=6)
    policy = letter_policy(task)
    decoders = [Decoder(policy, task, 12, sampling, is_static=False) for _ in range(2)]
    decoders[1].on_cpu = None
    uniforms = torch.rand((12, 6), generator=torch.Generator().manual_seed(2)).numpy()
    for decoder in decoders:
        decoder.start(range(12), [[1, 2, 3, 4, 5][: 1 + row % 5] for row in range(12)], uniforms)
        decoder.is_running[7] = False
    for _ in range(8):
        for decoder in decoders:
            decoder.step()
        ours, theirs = (decoder._state() for decoder in decoders)
        for name, tensor in theirs.items():
            torch.testing.assert_close(ours[name], tensor, atol=1e-6, rtol=0, msg=name)
    assert not decoders[0].is_running.any()
    if sampling is SAMPLED:
        assert len(set(decoders[0].n_generated.tolist())) > 2


@pytest.mark.equality
def test_generation_gives_the_same_episodes_with_it_and_without(in_c: CPUStep, request: pytest.FixtureRequest) -> None:
    task = letter_task(min_new_tokens=2, banned_token_ids=[3])
    policy = letter_policy(task)

    def generated() -> list[GeneratedEpisode]:
        return list(generate_episodes(policy, task, range(40), seed=1, num_rows=7))

    ours = generated()
    request.getfixturevalue("without_c")
    for one, other in zip(ours, generated(), strict=True):
        assert one.text == other.text
        torch.testing.assert_close(one.log_prob, other.log_prob, atol=1e-5, rtol=0)
        torch.testing.assert_close(one.values, other.values, atol=1e-5, rtol=0)


def test_it_is_for_float32_on_the_cpu(in_c: CPUStep) -> None:
    assert cpu_step(torch.device("cpu"), torch.float32) is in_c
    assert cpu_step(torch.device("cpu"), torch.bfloat16) is None
    assert cpu_step(torch.device("cuda"), torch.float32) is None


def written(folder: Path, text: str) -> Path:
    source = folder / "part.c"
    source.write_text(text)
    return source


@pytest.mark.usefixtures("in_c")
def test_c_is_compiled_and_loaded(tmp_path: Path) -> None:
    library = compiled(written(tmp_path, SOURCE))
    assert library is not None
    library.twice.restype, library.twice.argtypes = ctypes.c_double, [ctypes.c_double]
    assert library.twice(4.0) == 8.0
    assert [path.name for path in tmp_path.iterdir()] == ["part.c"]


@pytest.mark.usefixtures("in_c")
def test_without_threads_of_pytorch_s_make_it_is_compiled_for_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A library that calls what is nowhere cannot be loaded."""
    source = written(
        tmp_path, "#ifdef _OPENMP\nint nowhere(void);\nint call(void) { return nowhere(); }\n#endif\n" + SOURCE
    )
    assert compiled(source) is not None


def test_without_a_compiler_nothing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    assert compiled(written(tmp_path, SOURCE)) is None


def test_on_other_systems_no_compiler_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("platform.system", lambda: "Windows")
    assert compiled(written(tmp_path, SOURCE)) is None


@pytest.mark.usefixtures("in_c")
def test_a_compiler_that_fails_is_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="does not work here, so that decoding is slower: .*error"):
        assert compiled(written(tmp_path, "this is not C\n")) is None
