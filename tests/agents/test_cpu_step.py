"""What is written in C gives the numbers of PyTorch's operations, and decoding does without it where there is none."""

import math
import re
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Model
from transformers.models.gpt2.modeling_gpt2 import GPT2Block

from tests.agents.tiny import gpt2_config, language_model, letter_policy, letter_task
from textgym.agents import DQN, PPO, TextGenVecEnv
from textgym.agents.cpu_step import CPUStep, cpu_step
from textgym.agents.decoder import SAMPLED, Decoder, Sampling
from textgym.agents.few_rows import PackedMatrix
from textgym.agents.forward_record import DecodingPlan
from textgym.agents.generation import GeneratedEpisode, generate_episodes
from textgym.agents.gpt2_step import GPT2Step
from textgym.agents.kv_cache import RowCache


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def any_trunk(head_width: int, **changes: int) -> GPT2Model:
    """Make a GPT-2 with two heads, whose norms and biases are those of no other part."""
    model = language_model(gpt2_config(n_embd=2 * head_width, n_positions=90, **changes))
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
    trunk = any_trunk(head_width)
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


@pytest.mark.equality
@pytest.mark.usefixtures("with_and_without_c")
@pytest.mark.parametrize("inner_width", [8, 40])
def test_a_wider_layer_of_another_width_has_the_hidden_states_of_the_forward_pass(inner_width: int) -> None:
    trunk = any_trunk(4, n_inner=inner_width)
    tokens = torch.randint(12, (3, 9), generator=torch.Generator().manual_seed(1))
    cache, step = RowCache(2, 3, 9, torch.device("cpu")), GPT2Step(trunk, 3)
    with torch.no_grad():
        for position in range(9):
            positions = torch.full((3, 1), position)
            cache.select(positions)
            hidden = step(tokens[:, position, None], positions, cache)
        torch.testing.assert_close(hidden[:, 0], trunk(tokens).last_hidden_state[:, 8], atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("with_and_without_c")
def test_an_update_of_a_network_with_another_inner_width_has_no_record() -> None:
    env = TextGenVecEnv(2, letter_task())
    model = PPO("GPT2Policy", env, n_steps=8, policy_kwargs={"model": language_model(gpt2_config(n_inner=24))}, seed=0)
    model.learn(16)
    with model.policy.memory.recording(DecodingPlan(2, 8)):
        assert model.policy.make_cache(2, 13).record is None


@pytest.mark.usefixtures("in_c")
def test_weights_that_lie_in_memory_in_another_order_are_read_as_they_are() -> None:
    trunk = any_trunk(4)
    tokens, positions = torch.tensor([[3], [5]]), torch.zeros((2, 1), dtype=torch.long)
    cache = RowCache(2, 2, 9, torch.device("cpu"))
    with torch.no_grad():
        expected = trunk(tokens).last_hidden_state
        for part in (trunk.ln_f, cast(GPT2Block, trunk.h[0]).ln_1):
            part.weight.data = torch.stack([part.weight.data, torch.zeros(8)], dim=1)[:, 0]
        trunk.wte.weight.data = trunk.wte.weight.data.t().contiguous().t()
        step = GPT2Step(trunk, 2)
        for _ in range(2):  # the first step of all goes another way
            cache.select(positions)
            hidden = step(tokens, positions, cache)
    torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=1e-5)


def test_a_draw_is_that_of_float32_whatever_the_default_is(in_c: CPUStep) -> None:
    logits, uniforms = random(5, 20), torch.full((5,), 0.3)
    expected = in_c.draw(logits, uniforms)
    torch.set_default_dtype(torch.float64)
    try:
        found = in_c.draw(logits, uniforms.double())
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.usefixtures("with_and_without_c")
@pytest.mark.parametrize(("part", "size"), [("wte", 6), ("wpe", 9)])
def test_what_an_embedding_lacks_is_an_error_also_where_the_configuration_has_it(part: str, size: int) -> None:
    policy = letter_policy(letter_task())
    trunk = policy.language_model.base_model
    setattr(trunk, part, nn.Embedding(size, 16))
    with pytest.raises(IndexError):
        list(generate_episodes(policy, letter_task(), range(20), seed=0))


@pytest.mark.usefixtures("with_and_without_c")
def test_a_reference_without_so_many_positions_is_an_error() -> None:
    env, reference = TextGenVecEnv(2, letter_task()), language_model(gpt2_config(n_positions=13))
    of_policy = {"model": language_model()}
    model = DQN("GPT2Policy", env, reference=reference, candidates=4, policy_kwargs=of_policy, seed=0)
    with pytest.raises(IndexError):
        list(generate_episodes(model.network, letter_task(max_new_tokens=20), range(20), seed=0))


@pytest.mark.usefixtures("with_and_without_c")
def test_a_task_beyond_the_model_is_refused_before_anything_is_decoded() -> None:
    policy = letter_policy(letter_task())
    message = "max_prompt_tokens + max_new_tokens is 45, beyond the model's context of 32 tokens; lower one of them."
    with pytest.raises(ValueError, match=re.escape(message)):
        next(generate_episodes(policy, letter_task(max_new_tokens=40), range(1), seed=0))
    decoder = Decoder(policy, letter_task(), 1, SAMPLED, is_static=False)
    for wrong in (12, -1):
        message = f"A prompt holds the token {wrong}, the model has 12 tokens; give the environment the model's own"
        with pytest.raises(ValueError, match=message):
            decoder.start([0], [[1, wrong]], random(1, 8).numpy())


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
    with pytest.raises(ValueError, match=re.escape("Rows must have 37 entries, as the matrix has inputs, got 20.")):
        packed(rows[:, :20])


def test_a_product_of_many_rows_goes_the_general_way(in_c: CPUStep) -> None:
    rows, matrix, bias = random(600, 8), random(8, 5, seed=1), random(5, seed=2)
    torch.testing.assert_close(PackedMatrix(in_c, matrix, bias)(rows), rows @ matrix + bias, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(PackedMatrix(in_c, matrix, None)(rows), rows @ matrix, atol=1e-5, rtol=1e-5)


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


@pytest.mark.usefixtures("in_c")
def test_a_policy_in_bfloat16_decodes_in_float32() -> None:
    """Which is the faster one here, and the more exact one."""
    task = letter_task()
    policy = letter_policy(task)
    in_both = []
    for autocast in (None, "bfloat16"):
        policy.autocast = autocast
        in_both.append(list(generate_episodes(policy, task, range(20), seed=4, num_rows=8)))
    for exact, other in zip(*in_both, strict=True):
        assert exact.token_ids == other.token_ids
        assert torch.equal(exact.log_prob, other.log_prob)


@pytest.mark.usefixtures("without_c")
def test_without_c_a_policy_in_bfloat16_decodes_in_it() -> None:
    task = letter_task()
    policy = letter_policy(task)
    exact = torch.cat([one.log_prob for one in generate_episodes(policy, task, range(20), seed=4)])
    policy.autocast = "bfloat16"
    rounded = torch.cat([one.log_prob for one in generate_episodes(policy, task, range(20), seed=4)])
    assert rounded.shape != exact.shape or not torch.equal(rounded, exact)
