"""An update takes from decoding what it would compute again, and comes to the same weights."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor, nn

from tests.agents.tiny import gpt2_config, language_model, letter_policy, letter_task, waken_critic
from textgym.agents import A2C, DQN, GRPO, PPO, REINFORCE, RLOO, TextGenVecEnv, forward_record, token_statistics
from textgym.agents.forward_record import BlockProducts, DecodingPlan, ForwardRecord, KnownTexts, known_product
from textgym.agents.generation import generate_episodes
from textgym.reward_validation import RewardError

N_BLOCKS = 3


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list that says of each question to a record whether it knew the texts."""
    known: list[bool] = []
    find = ForwardRecord.find

    def noted(record: ForwardRecord, *arguments: Any) -> KnownTexts | None:
        found = find(record, *arguments)
        known.append(found is not None)
        return found

    monkeypatch.setattr(ForwardRecord, "find", noted)
    return known


def learned(kind: Any, of_task: dict[str, Any], callback: BaseCallback | None = None, **settings: Any) -> list[Tensor]:
    """Return the weights after two iterations of about 60 tokens each, or three."""
    of_policy = {"model": language_model(gpt2_config(n_layer=N_BLOCKS)), **settings.pop("policy_kwargs", {})}
    env = TextGenVecEnv(4, letter_task(**of_task))
    model = kind(
        "GPT2Policy", env, n_steps=15, learning_rate=1e-2, seed=0, device="cpu", policy_kwargs=of_policy, **settings
    )
    waken_critic(model.policy)
    model.learn(90, callback=callback)
    assert model.policy.memory.record is None
    return [parameter.detach() for parameter in model.policy.parameters()]


def forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward_record, "MOST_BYTES", 0)


GROUPS = {"completions_per_prompt": 4}
WHOLE = {"batch_size": 200, "n_epochs": 2}
SETTINGS: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "PPO": (PPO, {}, WHOLE),
    "few rows, refilled": (PPO, {}, {**WHOLE, "decode_rows": 3}),
    "texts that end after a look": (A2C, {"max_new_tokens": 9, "min_new_tokens": 9}, {}),
    "groups": (PPO, GROUPS, WHOLE),
    "prompts of one token": (A2C, {"prompts": ["a", "b"], "max_prompt_tokens": 1}, {}),
    "stop strings": (A2C, {"stop": ["b", "cd"]}, {}),
    "equal lengths": (REINFORCE, {"min_new_tokens": 8}, {}),
    "RLOO": (RLOO, GROUPS, {"decode_rows": 2}),
    "GRPO": (GRPO, GROUPS, WHOLE),
    "frozen layers": (A2C, {}, {"policy_kwargs": {"frozen_layers": 2}}),
    # Of three letters and as many tokens, so that some texts are alike, and no row goes on behind its end.
    "equal texts": (
        RLOO,
        {**GROUPS, "max_new_tokens": 4, "min_new_tokens": 4, "banned_token_ids": list(range(3, 10))},
        {},
    ),
    # A text may be that of another prompt, where the first token was still to be chosen under other rules.
    "one prompt begins another": (
        A2C,
        {"prompts": ["a", "aa"], "min_new_tokens": 2, "max_new_tokens": 4, "banned_token_ids": list(range(1, 11))},
        {},
    ),
    "temperature": (PPO, {}, {**WHOLE, "policy_kwargs": {"temperature": 0.6}}),
    "token rules": (PPO, {"banned_token_ids": [3], "min_new_tokens": 3}, WHOLE),
    "entropy bonus": (A2C, GROUPS, {"ent_coef": 0.1}),
    "separate critic": (A2C, GROUPS, {"policy_kwargs": {"critic": "separate"}}),
}


@pytest.mark.equality
@pytest.mark.usefixtures("with_and_without_c")
@pytest.mark.parametrize(("kind", "of_task", "settings"), SETTINGS.values(), ids=SETTINGS)
def test_weights_after_an_update_are_those_without_a_record(
    kind: Any, of_task: dict[str, Any], settings: dict[str, Any], answers: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = learned(kind, of_task, **settings)
    assert len(answers) >= 2
    assert all(answers)
    answers.clear()
    forgets(monkeypatch)
    expected = learned(kind, of_task, **settings)
    assert not answers
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_a_recorded_update_begins_with_no_product_of_the_head(
    answers: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    products: list[int] = []
    logits_of = token_statistics._logits_of

    def noted(hidden: Tensor, *others: Any) -> Tensor:
        products.append(len(hidden))
        return logits_of(hidden, *others)

    monkeypatch.setattr(token_statistics, "_logits_of", noted)
    learned(REINFORCE, {}, reference=None)
    learned(GRPO, GROUPS, decode_rows=3, batch_size=200, n_epochs=1, reference=None)
    assert not products
    answers.clear()
    # A first rollout of 60 tokens, as 8 texts of 8: there is no room for distributions beside the blocks' products.
    monkeypatch.setattr(forward_record, "MOST_BYTES", bytes_of_products(n_texts=8))
    learned(REINFORCE, {}, reference=None)
    assert answers[0]
    assert products


def bytes_of_products(n_texts: int) -> int:
    """What the blocks' products of so many of the longest texts take, 3 + 1 + 4 + 1 widths a block and position."""
    n_positions = n_texts * (letter_task().context_length + forward_record.SPARE_POSITIONS)
    return n_positions * N_BLOCKS * 9 * gpt2_config().n_embd * 4


def test_a_recorded_update_multiplies_by_no_matrix_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    products: list[int] = []
    multiply = nn.functional.linear

    def noted(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            products.append(len(rows))
        product: Tensor = multiply(rows, weight, bias)
        return product

    monkeypatch.setattr(nn.functional, "linear", noted)
    learned(REINFORCE, {})
    assert not products
    forgets(monkeypatch)
    learned(REINFORCE, {})
    assert len(products) % (4 * N_BLOCKS) == 0
    assert products


NOT_RECORDED: dict[str, tuple[Any, dict[str, Any]]] = {
    "several minibatches": (PPO, {"batch_size": 30, "n_epochs": 1}),
    "micro-batches": (A2C, {"policy_kwargs": {"micro_batch_size": 20}}),
    "checkpoints": (A2C, {"policy_kwargs": {"gradient_checkpointing": True}}),
    "bfloat16": (A2C, {"policy_kwargs": {"autocast": "bfloat16"}}),
    "adapter": (A2C, {"policy_kwargs": {"lora": 2}}),
    "replayed episodes": (A2C, {"self_imitation": 0.5}),
}


@pytest.mark.parametrize(("kind", "settings"), NOT_RECORDED.values(), ids=NOT_RECORDED)
def test_nothing_is_kept_where_it_would_be_of_no_use(kind: Any, settings: dict[str, Any], answers: list[bool]) -> None:
    if "lora" in settings.get("policy_kwargs", {}):
        pytest.importorskip("peft")
    learned(kind, {}, **settings)
    assert not answers


def test_off_policy_algorithms_keep_nothing(answers: list[bool]) -> None:
    env = TextGenVecEnv(4, letter_task())
    DQN("GPT2Policy", env, learning_starts=0, train_freq=40, batch_size=20, seed=0, device="cpu").learn(80)
    assert not answers


class BetweenRolloutAndUpdate(BaseCallback):
    """Does something with a policy that has just been rolled out."""

    def __init__(self, act: Callable[[A2C], None]) -> None:
        super().__init__()
        self.act = act

    def _on_rollout_end(self) -> None:
        assert isinstance(self.model, A2C)
        self.act(self.model)

    def _on_step(self) -> bool:
        return True


@torch.no_grad()
def change_a_weight(model: A2C) -> None:
    model.policy.language_model.base_model.get_parameter("h.1.mlp.c_fc.weight").mul_(1.5)


def change_its_data(model: A2C) -> None:
    model.policy.language_model.base_model.get_parameter("h.1.mlp.c_fc.weight").data.mul_(1.5)


def replace_a_weight(model: A2C) -> None:
    part: Any = model.policy.language_model.base_model.get_submodule("h.1.mlp.c_fc")
    part.weight = nn.Parameter(1.5 * part.weight.detach())


def load_a_vector(model: A2C) -> None:
    model.policy.load_from_vector(1.5 * model.policy.parameters_to_vector())


def lower_the_temperature(model: A2C) -> None:
    model.policy.temperature *= 0.9


def generate_something(model: A2C) -> None:
    list(generate_episodes(model.policy, model.task, range(3), seed=9))


@pytest.mark.parametrize(
    "change", [change_a_weight, change_its_data, replace_a_weight, load_a_vector, lower_the_temperature]
)
def test_a_record_is_out_of_date_once_a_weight_has_changed(
    change: Callable[[A2C], None], answers: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = learned(A2C, {}, BetweenRolloutAndUpdate(change))
    assert len(answers) >= 2
    assert not any(answers)
    forgets(monkeypatch)
    expected = learned(A2C, {}, BetweenRolloutAndUpdate(change))
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


def test_what_is_generated_before_the_update_is_not_taken_for_the_rollout(answers: list[bool]) -> None:
    plain = learned(A2C, {})
    answers.clear()
    ours = learned(A2C, {}, BetweenRolloutAndUpdate(generate_something))
    assert len(answers) >= 2
    assert all(answers)
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def packed(prompt_ids: list[int], token_ids: list[int]) -> dict[str, Tensor]:
    """Pack one text, padded to three tokens."""
    column, n_prompt, length = torch.arange(3)[None], len(prompt_ids), len(prompt_ids) + len(token_ids)
    return {
        "input_ids": torch.tensor([[*prompt_ids, *token_ids, 0, 0]])[:, :3],
        "attention_mask": column < length,
        "is_decision": (column >= n_prompt - 1) & (column < length - 1),
    }


@torch.no_grad()
def test_texts_that_were_not_decoded_are_unknown_and_so_are_all_where_they_take_too_much_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = letter_policy(letter_task()).language_model
    record = ForwardRecord(model, num_rows=2, context_length=3, plan=DecodingPlan(1, 1))
    products = [BlockProducts(*(torch.full((2, width), 3.0) for width in (48, 16, 64, 16)))] * 2
    record.add(None, torch.tensor([[0], [0]]), products)
    record.end_text(1, [4], [5])
    for _ in range(8):  # far more than there is room for at first
        known = record.find(model, packed([4], [5]))
        assert known is not None
        assert known.places.tolist() == [1, 0, 0]
        assert known.block(1, torch.tensor([0])).widen.eq(3).all()
        record.add(None, torch.tensor([[1], [1]]), products)
    assert record.find(model, packed([4], [6])) is None
    assert record.find(model, packed([4], [5, 0])) is None
    forgets(monkeypatch)
    for _ in range(8):
        record.add(None, torch.tensor([[1], [1]]), products)
    assert record.find(model, packed([4], [5])) is None


class StopAtOnce(BaseCallback):
    def _on_step(self) -> bool:
        return False


def test_a_record_is_held_no_longer_than_to_the_update_and_goes_into_no_copy() -> None:
    held: list[bool] = []

    def look(model: A2C) -> None:
        copied = copy.deepcopy(model.policy)
        held.extend([model.policy.memory.record is not None, copied.memory.record is not None])

    learned(A2C, {}, BetweenRolloutAndUpdate(look))
    assert held[:2] == [True, False]
    learned(A2C, {}, StopAtOnce())

    def refused(prompts: list[str], completions: list[str], **columns: object) -> list[float]:
        raise ValueError("no reward today")

    env = TextGenVecEnv(4, letter_task(reward=refused))
    model = A2C("GPT2Policy", env, n_steps=15, seed=0, device="cpu", policy_kwargs={"model": language_model()})
    with pytest.raises(RewardError):
        model.learn(60)
    assert model.policy.memory.record is None


def test_a_known_product_has_the_gradients_of_the_product() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = (5, 3), (3, 4), (4,)
    rows, matrix, bias = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    product = rows @ matrix + bias
    inputs = [part.requires_grad_() for part in (rows, matrix, bias)]
    found = known_product(rows, matrix, bias, product)
    assert torch.equal(found, product)
    weights = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    ours = torch.autograd.grad((weights * found).sum(), inputs)
    expected = torch.autograd.grad((weights * (rows @ matrix + bias)).sum(), inputs)
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other)
