"""Frozen layers, adapters, precision and memory of value-based policies, and the options that they do not have."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.agents.tiny import exactly, language_model, letter_task
from textgym.agents import DQN, QRDQN, DoubleDQN, TextGenVecEnv

KINDS: list[Any] = [DQN, DoubleDQN, QRDQN]
OPTIONS: dict[str, dict[str, Any]] = {
    "frozen_layer": {"frozen_layers": 1},
    "adapter": {"lora": 2},
    "bfloat16": {"autocast": "bfloat16"},
    "checkpointed_blocks": {"gradient_checkpointing": True},
}


def algorithm(kind: Any = DQN, model: Any = None, **options: Any) -> Any:
    """Make an algorithm on a random model; `options` are arguments of the policy."""
    return kind(
        "GPT2Policy", TextGenVecEnv(3, letter_task()), learning_starts=60, train_freq=40, batch_size=20,
        gradient_steps=2, target_update_interval=70, learning_rate=1e-3, candidates=6, seed=0, device="cpu",
        policy_kwargs={"model": language_model() if model is None else model, "advantage_scale": 0.5, **options},
    )  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_it_takes_the_options_of_the_trunk_and_loads_with_them(kind: Any, name: str, tmp_path: Path) -> None:
    if name == "adapter":
        pytest.importorskip("peft")
    model = algorithm(kind, **OPTIONS[name])
    before = {key: tensor.clone() for key, tensor in model.network.state_dict().items()}
    model.learn(150)
    after = model.network.state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    trained = {key for key, parameter in model.network.named_parameters() if parameter.requires_grad}
    assert any("language_model" in key for key in moved)
    # Weights that are tied to others come by two names, and gradients by one.
    assert moved <= trained | {"language_model.lm_head.weight"}
    assert all(tensor.isfinite().all() for tensor in after.values())
    model.save(tmp_path / "saved")
    loaded = kind.load(tmp_path / "saved", device="cpu").policy.state_dict()
    assert loaded.keys() == model.policy.state_dict().keys()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in model.policy.state_dict().items())


def test_checkpointed_blocks_do_not_change_what_is_learned() -> None:
    plain, saving = (algorithm(**options).learn(150).network for options in ({}, OPTIONS["checkpointed_blocks"]))
    for one, other in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=0)


def test_the_reference_is_the_base_with_the_adapter_off(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    language_model().save_pretrained(tmp_path / "model")
    model = algorithm(model=str(tmp_path / "model"), lora=2)
    model.learn(150)
    model.save(tmp_path / "saved")
    loaded = DQN.load(tmp_path / "saved", env=TextGenVecEnv(3, letter_task()), device="cpu")
    input_ids = torch.tensor([[1, 2, 3]])
    expected = language_model()(input_ids=input_ids).logits
    for each in (model, loaded):
        found = each.network.exploration.reference.language_model(input_ids=input_ids).logits
        torch.testing.assert_close(found, expected)
        assert not torch.allclose(each.network.language_model(input_ids=input_ids).logits, expected, atol=1e-3)


@pytest.mark.parametrize("name", ["adapter", "frozen_layer"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_frozen_is_shared_with_the_reference(kind: Any, name: str, tmp_path: Path) -> None:
    if name == "adapter":
        pytest.importorskip("peft")
    language_model().save_pretrained(tmp_path / "model")
    model = algorithm(kind, str(tmp_path / "model"), **OPTIONS[name])
    model.save(tmp_path / "saved")
    for each in (model, kind.load(tmp_path / "saved", env=TextGenVecEnv(3, letter_task()), device="cpu")):
        parameters = each.network.language_model.parameters()
        frozen = {one.data_ptr() for one in parameters if not one.requires_grad}
        reference = {one.data_ptr() for one in each.find_reference().policy.language_model.parameters()}
        assert frozen
        assert frozen <= reference


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("critic", "separate", "what a token is worth, the policy itself says"),
        (
            "micro_batch_size",
            20,
            "a minibatch is one forward pass; lower batch_size, or set gradient_checkpointing",
        ),
        ("temperature", 0.5, "the best token is taken, and explored as the reference would"),
    ],
)
def test_options_of_an_actor_critic_are_errors(name: str, value: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=exactly(f"{name} must be left out of policy_kwargs with DQN: {reason}.")):
        algorithm(**{name: value})
