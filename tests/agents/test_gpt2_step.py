"""GPT-2 as published is decoded in plain operations, with the numbers of its own forward pass; others are not."""

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Model, PreTrainedModel

from tests.agents.tiny import gpt2_config, language_model, letter_policy, letter_task, llama_config
from textgym.agents import few_rows, gpt2_step
from textgym.agents.activations import fuse_activations
from textgym.agents.decoder import SAMPLED, Decoder
from textgym.agents.few_rows import few_rows_product
from textgym.agents.generation import GeneratedEpisode, generate_episodes
from textgym.agents.gpt2_step import GPT2Step, is_plain_gpt2
from textgym.agents.kv_cache import RowCache
from textgym.agents.precision import aligned_rows


def unlike_init(model: PreTrainedModel) -> PreTrainedModel:
    """Give norms and biases, which start at 1 and 0, numbers of their own."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
    return model


@pytest.fixture(
    params=[(1, True), (1, False), (1 << 17, False)],
    ids=["in C", "products as large ones", "products as small ones"],
)
def _kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    smallest, is_in_c = request.param
    monkeypatch.setattr(few_rows, "MIN_ENTRIES", smallest)
    monkeypatch.setattr(gpt2_step, "MIN_SCORES", smallest)
    request.getfixturevalue("in_c" if is_in_c else "without_c")


@pytest.mark.equality
@pytest.mark.usefixtures("_kernels")
def test_a_whole_text_has_the_hidden_states_of_the_forward_pass() -> None:
    trunk = unlike_init(language_model()).base_model
    assert is_plain_gpt2(trunk)
    tokens = torch.randint(12, (3, 9), generator=torch.Generator().manual_seed(1))
    positions = torch.arange(9).expand(3, -1)
    cache = RowCache(2, 3, 9, torch.device("cpu"))
    with torch.no_grad():
        cache.select(positions)
        hidden = GPT2Step(trunk, 3)(tokens, positions, cache)
        expected = trunk(tokens).last_hidden_state
    torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=0)


@pytest.mark.equality
@pytest.mark.usefixtures("_kernels")
def test_rows_that_are_begun_stepped_copied_and_dropped_have_the_hidden_states_of_the_forward_pass() -> None:
    trunk = unlike_init(language_model()).base_model
    assert is_plain_gpt2(trunk)
    tokens = torch.randint(12, (4, 9), generator=torch.Generator().manual_seed(1))
    tokens[3, :2] = tokens[0, :2]
    step = GPT2Step(trunk, 4)
    cache = RowCache(2, 4, 9, torch.device("cpu"))

    def appended(new: Tensor, positions: Tensor, rows: Tensor | None = None) -> Tensor:
        cache.select(positions, rows, int(positions.max()) + 1)
        return step(new, positions, cache)

    with torch.no_grad():
        expected = trunk(tokens).last_hidden_state
        positions = torch.arange(2).expand(2, -1)
        begun = appended(tokens[[2, 0], :2], positions, torch.tensor([2, 0]))
        torch.testing.assert_close(begun, expected[[2, 0], :2], atol=1e-5, rtol=0)
        cache.copy_rows(torch.tensor([0]), torch.tensor([3]), torch.tensor([2]), 2)
        place, row = torch.tensor([2, 0, 2, 2]), torch.arange(4)  # the second row begins at its first token
        for _ in range(5):
            hidden = appended(tokens[row, place][:, None], place[:, None])[:, 0]
            torch.testing.assert_close(hidden, expected[row, place], atol=1e-5, rtol=0)
            place = place + 1
        kept = torch.tensor([1, 3])
        cache.keep_rows(kept)
        place = place[kept]
        for _ in range(2):
            hidden = appended(tokens[kept, place][:, None], place[:, None])[:, 0]
            torch.testing.assert_close(hidden, expected[kept, place], atol=1e-5, rtol=0)
            place = place + 1


def borrowing_decoder() -> Decoder:
    """Six rows of two prompts, three each, whose cache lends; on the CPU nothing reads by it, and each has a copy."""
    task = letter_task(max_prompt_tokens=6)
    decoder = Decoder(letter_policy(task), task, 6, SAMPLED, is_static=True)
    decoder.cache.lends = True
    begin(decoder, [0, 1, 2, 3, 4, 5], [[1, 2, 3], [1, 2, 3], [1, 2, 3], [4, 5, 6, 7], [4, 5, 6, 7], [4, 5, 6, 7]])
    return decoder


def begin(decoder: Decoder, rows: list[int], prompts: list[list[int]]) -> None:
    decoder.start(rows, prompts, np.zeros((len(rows), decoder.task.max_new_tokens), dtype=np.float32))


def lost_loans(decoder: Decoder) -> list[int]:
    """Rows that borrow a beginning that is not their own copy of it."""
    lost = []
    for row, (lender, length) in enumerate(
        zip(decoder.cache.lenders.tolist(), decoder.cache.n_borrowed.tolist(), strict=True)
    ):
        for layer in decoder.cache.row_layers:
            for cached in (layer.keys, layer.values):
                if not torch.equal(cached[row, :, :length], cached[lender, :, :length]):
                    lost.append(row)
    return lost


def test_completions_of_a_prompt_borrow_its_beginning() -> None:
    decoder = borrowing_decoder()
    assert decoder.cache.lenders.tolist() == [0, 0, 0, 3, 3, 3]
    assert decoder.cache.n_borrowed.tolist() == [0, 2, 2, 0, 3, 3]
    decoder.run(3)
    assert not lost_loans(decoder)


@pytest.mark.parametrize(
    ("rows", "prompts", "n_borrowed"),
    [
        ([0, 5], [[8, 9], [10]], [0, 0, 0, 0, 3, 0]),  # a lender and a borrower read a prompt each
        ([1, 3], [[8, 9, 1], [8, 9, 1]], [0, 0, 2, 2, 0, 0]),  # a borrower reads, and lends to what was a lender
        ([0, 3], [[8], [8]], [0, 0, 0, 0, 0, 0]),  # of a single token nothing is cached
        ([2, 1], [[8, 9, 1], [8, 9, 1]], [0, 2, 0, 0, 3, 3]),
    ],
)
def test_rows_that_begin_anew_neither_lend_nor_borrow_what_was_there(
    rows: list[int], prompts: list[list[int]], n_borrowed: list[int]
) -> None:
    decoder = borrowing_decoder()
    begin(decoder, rows, prompts)
    assert decoder.cache.n_borrowed.tolist() == n_borrowed
    assert not lost_loans(decoder)
    decoder.run(2)
    assert not lost_loans(decoder)


def test_rows_that_are_left_borrow_nothing() -> None:
    cache = borrowing_decoder().cache
    cache.keep_rows(torch.tensor([1, 4]))
    assert cache.n_borrowed.tolist() == [0, 0]


def test_under_autocast_hidden_states_are_as_near_to_the_exact_ones_as_the_forward_pass_s() -> None:
    trunk = unlike_init(language_model()).base_model
    assert is_plain_gpt2(trunk)
    tokens = torch.randint(12, (3, 9), generator=torch.Generator().manual_seed(1))
    positions = torch.arange(9).expand(3, -1)
    cache = RowCache(2, 3, 9, torch.device("cpu"))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        cache.select(positions)
        hidden = GPT2Step(trunk, 3, torch.bfloat16)(tokens, positions, cache)
        autocast = trunk(tokens).last_hidden_state
    with torch.no_grad():
        exact = trunk(tokens).last_hidden_state
    assert hidden.dtype == torch.float32
    assert cache.row_layers[0].keys.dtype == torch.bfloat16
    assert (hidden - exact).abs().mean() <= 1.5 * (autocast - exact).abs().mean()


def test_on_the_cpu_no_rows_are_added_to_a_matrix() -> None:
    matrix = torch.ones(7, 3)
    assert aligned_rows(matrix) is matrix


@pytest.mark.cuda
def test_on_a_gpu_added_rows_have_no_part_in_results_and_gradients() -> None:
    matrix = torch.randn(70, 8, device="cuda", requires_grad=True)
    aligned = aligned_rows(matrix)
    assert aligned.shape == (128, 8)
    assert not aligned[70:].any()
    aligned.sum().backward()
    assert matrix.grad is not None
    assert matrix.grad.eq(1).all()


@pytest.mark.usefixtures("_kernels")
@pytest.mark.parametrize("has_gelu", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("number", [1, 3, 16, 100, 600])
def test_a_product_is_that_of_the_matrix_for_any_number_of_rows(number: int, has_bias: bool, has_gelu: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    matrix = nn.Parameter(torch.randn((40, 70), generator=generator).t())  # as a language head's is
    bias = torch.randn(40, generator=generator) if has_bias else None
    rows = torch.randn((number, 70), generator=generator)
    product = few_rows_product(matrix, bias, n_rows=16, has_gelu=has_gelu)(rows)
    expected = rows @ matrix + (0 if bias is None else bias)
    expected = nn.functional.gelu(expected, approximate="tanh") if has_gelu else expected
    torch.testing.assert_close(product, expected.detach(), atol=1e-4, rtol=0)
    assert product.is_contiguous()


@pytest.mark.cuda
@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 2e-6), (torch.bfloat16, 1e-2)])
def test_a_gpus_product_with_gelu_is_as_exact_as_its_precision(dtype: torch.dtype, most: float) -> None:
    """A library's own tanh may be a rough one."""
    generator = torch.Generator().manual_seed(2)
    rows, matrix, bias = (torch.randn(shape, generator=generator) for shape in ((64, 40), (40, 70), (70,)))
    rows, matrix, bias = (tensor.to(dtype) for tensor in (rows, matrix / 40**0.5, bias))
    product = few_rows_product(matrix.cuda(), bias.cuda(), n_rows=64, has_gelu=True)(rows.cuda())
    exact = nn.functional.gelu(rows.double() @ matrix.double() + bias.double(), approximate="tanh")
    assert (product.cpu().double() - exact).norm() < most * exact.norm()


@pytest.mark.usefixtures("without_c")
def test_few_numbers_of_rows_reach_onednn_which_keeps_memory_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.backends.mkldnn.is_available():
        pytest.skip("PyTorch is built without oneDNN")
    numbers: list[int] = []
    multiply = torch.ops.mkldnn._linear_pointwise

    def noted(rows: Tensor, *arguments: Any) -> Any:
        numbers.append(len(rows))
        return multiply(rows, *arguments)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", noted)
    monkeypatch.setattr(few_rows, "MIN_ENTRIES", 0)
    product = few_rows_product(torch.ones(3, 5), None, n_rows=16)
    for number in range(1, 1000):
        assert product(torch.ones(number, 3)).eq(3).all()
    assert len(numbers) == 512
    assert sorted(set(numbers)) == [*range(8, 128, 8), *range(128, 256, 16), *range(256, 513, 32)]


def test_a_fused_activation_gives_the_same_logits_and_gradients_and_keeps_its_name() -> None:
    plain, fused = (unlike_init(language_model()) for _ in range(2))
    fuse_activations(fused)
    assert "tanh" in type(fused.get_submodule("transformer.h.1.mlp.act")).__name__.lower()
    assert fused.config.activation_function == "gelu_new"
    tokens = torch.arange(10)[None]
    for model in (plain, fused):
        model(tokens, labels=tokens).loss.backward()
    for (name, ours), theirs in zip(fused.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=0, msg=name)


def with_hook(trunk: GPT2Model) -> None:
    trunk.get_submodule("h.1.mlp").register_forward_hook(lambda module, inputs, output: 2 * output)


def with_dropped_block(trunk: GPT2Model) -> None:
    trunk.set_submodule("h.0.attn.c_proj", nn.Identity())


def with_adapter(trunk: GPT2Model) -> None:
    peft = pytest.importorskip("peft")
    peft.inject_adapter_in_model(peft.LoraConfig(target_modules=["c_attn"], fan_in_fan_out=True), trunk)


@pytest.mark.parametrize("change", [with_hook, with_dropped_block, with_adapter])
def test_a_trunk_that_has_been_changed_goes_the_general_way(change: Callable[[GPT2Model], None]) -> None:
    trunk = language_model().base_model
    assert is_plain_gpt2(trunk)
    change(trunk)
    assert not is_plain_gpt2(trunk)


@pytest.mark.parametrize(
    "changes",
    [
        {"activation_function": "gelu"},
        {"scale_attn_by_inverse_layer_idx": True},
        {"scale_attn_weights": False},
        {"add_cross_attention": True},
        {"attn_implementation": "eager"},
    ],
)
def test_a_configuration_that_computes_otherwise_goes_the_general_way(changes: dict[str, Any]) -> None:
    assert not is_plain_gpt2(language_model(gpt2_config(**changes)).base_model)


def test_a_replaced_forward_pass_goes_the_general_way() -> None:
    trunk: Any = language_model().base_model
    trunk.h[0].mlp.forward = refuse
    assert not is_plain_gpt2(trunk)


def test_another_architecture_goes_the_general_way() -> None:
    assert not is_plain_gpt2(language_model(llama_config()).base_model)


def refuse(*args: object, **kwargs: object) -> NoReturn:
    raise AssertionError("the forward pass of transformers was called")


@pytest.mark.equality
@pytest.mark.usefixtures("_kernels")
@pytest.mark.parametrize("is_static", [False, True])
def test_generation_calls_no_forward_pass_of_a_plain_gpt2_and_gives_the_same_episodes(
    is_static: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = letter_task(min_new_tokens=2, banned_token_ids=[3])
    policy = letter_policy(task, unlike_init(language_model()))

    def generated() -> list[GeneratedEpisode]:
        return list(generate_episodes(policy, task, range(30), seed=1, num_rows=7, is_static=is_static))

    trunk: Any = policy.language_model.base_model
    head: Any = policy.language_model.get_output_embeddings()
    hooks = [module.register_forward_hook(lambda *_: None) for module in (trunk, head)]
    general = generated()
    for hook in hooks:
        hook.remove()
    # Of the class, since a model whose own forward pass was replaced goes the general way.
    monkeypatch.setattr(type(trunk), "forward", refuse)
    head.forward = refuse
    direct = generated()
    for ours, theirs in zip(direct, general, strict=True):
        assert ours.text.token_ids == theirs.text.token_ids
        torch.testing.assert_close(ours.log_prob, theirs.log_prob, atol=1e-5, rtol=0)
        torch.testing.assert_close(ours.values, theirs.values, atol=1e-5, rtol=0)


@pytest.mark.usefixtures("_kernels")
def test_a_caller_s_autocast_does_not_reach_a_rollout() -> None:
    task = letter_task()
    policy = letter_policy(task, unlike_init(language_model()))

    def generated() -> list[GeneratedEpisode]:
        return list(generate_episodes(policy, task, range(6), seed=1, num_rows=3))

    plain = generated()
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = generated()
    for one, other in zip(plain, under_autocast, strict=True):
        assert one.text.token_ids == other.text.token_ids
        assert one.log_prob.equal(other.log_prob)


@pytest.mark.usefixtures("_kernels")
def test_a_rollout_follows_an_update_of_the_weights() -> None:
    """With matrices that are copied: the copy is as old as the rollout, not as the policy."""
    task = letter_task()
    policy = letter_policy(task)
    before = [item.log_prob for item in generate_episodes(policy, task, range(4), seed=1)]
    with torch.no_grad():
        policy.language_model.get_output_embeddings().weight.mul_(0.5)
    after = [item.log_prob for item in generate_episodes(policy, task, range(4), seed=1)]
    assert all(len(one) != len(other) or not torch.equal(one, other) for one, other in zip(before, after, strict=True))
