"""A packed batch in passes: each position once, in the order of the batch, with a plain forward pass's numbers."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import GPT2Model

from tests.agents.tiny import VOCAB_SIZE, gpt2_config, language_model, letter_policy, letter_task
from textgym.agents import trunk as trunk_module
from textgym.agents.decoder import SAMPLED, Decoder
from textgym.agents.gpt2_blocks import at_decisions, embedded
from textgym.agents.text_passes import TextPass, text_passes

# Two prompts of several completions, one of them the other's beginning; equal texts; one alone; token 0 at an end,
# where others have padding.
TEXTS = [
    [1, 2, 3, 4, 5, 6],
    [1, 2, 3, 4, 9],
    [7, 1, 1],
    [1, 2, 3, 4, 5, 6],
    [1, 2, 3, 0],
    [1, 2, 3],
    [1, 2, 3, 4, 5, 6, 7, 0, 0],
    [8],
]
N_PROMPT = [3, 3, 1, 4, 2, 3, 3, 1]


def batch(texts: list[list[int]], n_prompt: list[int]) -> tuple[Tensor, Tensor]:
    """Pad texts with 0, and mark as decisions the places from the prompt's last token to the last but one."""
    input_ids = torch.zeros((len(texts), max(map(len, texts))), dtype=torch.long)
    is_decision = torch.zeros(input_ids.shape, dtype=torch.bool)
    for row, (text, first) in enumerate(zip(texts, n_prompt, strict=True)):
        input_ids[row, : len(text)] = torch.tensor(text)
        is_decision[row, first - 1 : len(text) - 1] = True
    return input_ids, is_decision


def trunk_of(width: int = 32) -> GPT2Model:
    trunk = language_model(gpt2_config(n_embd=width, n_head=4)).base_model
    assert isinstance(trunk, GPT2Model)
    return trunk


def joined_states(trunk: GPT2Model, input_ids: Tensor, passes: list[TextPass], order: Tensor | None) -> Tensor:
    parts = []
    for texts in passes:
        hidden = trunk.wte(input_ids.flatten()[texts.positions]) + trunk.wpe(texts.columns)
        parts.append(at_decisions(trunk, hidden, texts, 0, torch.float32, is_checkpointed=False))
    joined = torch.cat(parts)
    return joined if order is None else joined[order]


def test_each_beginning_is_worked_on_once() -> None:
    input_ids, is_decision = batch(TEXTS, N_PROMPT)
    (texts,), _ = text_passes(input_ids, is_decision, most_positions=1000)
    # Nobody asks for the last token of a text, unless it is the only one.
    beginnings = {tuple(text[: column + 1]) for text in TEXTS for column in range(max(1, len(text) - 1))}
    found = [
        tuple(input_ids[position // input_ids.shape[1], : column + 1].tolist())
        for position, column in zip(texts.positions.tolist(), texts.columns.tolist(), strict=True)
    ]
    assert len(found) == len(set(found)) == len(beginnings)
    assert set(found) == beginnings
    assert texts.number.shape == (len(TEXTS), max(map(len, TEXTS)) - 1)


@pytest.mark.parametrize("most_positions", [1, 7, 12, 1000])
def test_hidden_states_and_gradients_are_those_of_the_forward_pass(most_positions: int) -> None:
    input_ids, is_decision = batch(TEXTS, N_PROMPT)
    trunk = trunk_of()
    passes, order = text_passes(input_ids, is_decision, most_positions)
    assert most_positions == 1000 or len(passes) > 1
    weights = torch.randn((int(is_decision.sum()), 32), generator=torch.Generator().manual_seed(2))
    gradients = []
    for hidden in (trunk(input_ids).last_hidden_state[is_decision], joined_states(trunk, input_ids, passes, order)):
        found = torch.autograd.grad((weights * hidden).sum(), list(trunk.parameters()))
        gradients.append([hidden.detach(), *found])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


def test_texts_that_are_not_alike_stay_as_they_are() -> None:
    generator = np.random.default_rng(0)
    starts = generator.permutation(VOCAB_SIZE)[:6].tolist()
    rows = [[start, *generator.integers(VOCAB_SIZE, size=6 - row // 3)] for row, start in enumerate(starts)]
    input_ids, is_decision = batch(rows, [2] * 6)
    passes, order = text_passes(input_ids, is_decision, most_positions=15)
    assert order is None
    assert [len(texts.number) for texts in passes] == [2, 2, 2]
    for texts in passes:
        assert texts.kept is None
        # Padding too, where a text is shorter than the longest of its pass.
        assert texts.number.flatten().tolist() == list(range(len(texts.positions)))
    trunk = trunk_of()
    with torch.no_grad():
        expected = trunk(input_ids).last_hidden_state[is_decision]
        torch.testing.assert_close(joined_states(trunk, input_ids, passes, None), expected, atol=1e-5, rtol=0)


def test_a_long_text_among_short_ones_makes_no_pass_large() -> None:
    """Attention works on padded texts: in one pass the short ones would be as long as the long one."""
    texts = [[1] * 5 + [2, token] for token in range(8)] + [[1] * 5 + [2, 3] + [4] * 23, [5] * 12, [6] * 2, [7] * 2]
    input_ids, is_decision = batch(texts, [1] * len(texts))
    trunk = trunk_of()
    passes, order = text_passes(input_ids, is_decision, most_positions=24)
    for one in passes:
        assert len(one.positions) <= 24 or len(one.number) == 1
        assert one.number.numel() <= 48 or len(one.number) == 1
    # 6 + 8 for the short ones, as often as their beginning is cut, and the others whole but for what they share.
    assert sum(len(one.positions) for one in passes) < 0.8 * sum(map(len, texts))
    with torch.no_grad():
        expected = trunk(input_ids).last_hidden_state[is_decision]
        torch.testing.assert_close(joined_states(trunk, input_ids, passes, order), expected, atol=1e-5, rtol=0)


def test_blocks_go_on_from_what_the_frozen_ones_have_made() -> None:
    input_ids, is_decision = batch(TEXTS, N_PROMPT)
    trunk = trunk_of()
    (texts,), order = text_passes(input_ids, is_decision, most_positions=1000)
    with torch.no_grad():
        expected = trunk(input_ids).last_hidden_state[is_decision]
        lower = trunk.h[0](embedded(trunk, input_ids))
        lower = lower[0] if isinstance(lower, tuple) else lower
        hidden = at_decisions(trunk, lower.flatten(0, 1)[texts.positions], texts, 1, torch.float32, False)
    assert order is not None
    torch.testing.assert_close(hidden[order], expected, atol=1e-5, rtol=0)


def test_an_update_forwards_the_prompt_of_a_group_once(monkeypatch: pytest.MonkeyPatch) -> None:
    task = letter_task()
    policy = letter_policy(task)
    input_ids, is_decision = batch([[1, 2, 3, 4, 5, token] for token in range(8)], [5] * 8)
    counts = []

    def counted(trunk: GPT2Model, hidden: Tensor, *others: Any) -> Tensor:
        counts.append(len(hidden))
        return at_decisions(trunk, hidden, *others)

    monkeypatch.setattr(trunk_module, "at_decisions", counted)
    mask = torch.ones_like(input_ids, dtype=torch.bool)
    hidden, _ = policy.decisions({"input_ids": input_ids, "attention_mask": mask, "is_decision": is_decision})
    assert counts == [5]
    expected = policy.hidden_states(input_ids)[is_decision]
    torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=0)


def test_a_rollout_reads_the_prompt_of_a_group_once(monkeypatch: pytest.MonkeyPatch) -> None:
    task = letter_task()
    policy = letter_policy(task)
    decoder = Decoder(policy, task, 5, SAMPLED, is_static=False)
    read, plain = [], policy.cached_hidden_states

    def noted(tokens: Tensor, *others: Any) -> Tensor:
        read.append(tokens.tolist())
        return plain(tokens, *others)

    monkeypatch.setattr(policy, "cached_hidden_states", noted)
    prompts = [[1, 2, 3], [4, 5], [1, 2, 3], [4, 5]]
    decoder.start([3, 0, 1, 4], prompts, np.zeros((4, task.max_new_tokens), dtype=np.float32))
    assert read == [[[1, 2], [4, 5]]]
    for layer in decoder.cache.row_layers:
        for cached in (layer.keys, layer.values):
            assert torch.equal(cached[1, :, :2], cached[3, :, :2])
            assert torch.equal(cached[4, :, :1], cached[0, :, :1])
            assert not torch.equal(cached[0], cached[3])
