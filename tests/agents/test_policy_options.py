"""Critics, frozen layers, adapters, precision and micro-batches: what each changes in a policy, and what not."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PretrainedConfig

from tests.agents.tiny import exactly, gpt2_config, language_model, letter_task, llama_config, waken_critic
from textgym.agents import A2C, PPO, GPT2Policy, TextGenVecEnv
from textgym.agents.generation import generate_episodes
from textgym.agents.lora import merged, save_lora
from textgym.agents.on_policy import SequenceOnPolicyAlgorithm
from textgym.agents.scoring import score_tokens

CONFIGS = {"gpt2": gpt2_config(n_layer=3), "llama": llama_config(num_hidden_layers=3)}


def algorithm(config: PretrainedConfig | None = None, algorithm_class: Any = PPO, **options: Any) -> PPO:
    """Make an algorithm on a random model; arguments of the policy are `options`, of the algorithm `settings`."""
    settings = {"n_steps": 40, "seed": 0, "device": "cpu", "learning_rate": 1e-2, **options.pop("settings", {})}
    if algorithm_class is PPO:
        settings = {"batch_size": 30, "n_epochs": 2, **settings}
    kwargs = {"model": language_model(CONFIGS["gpt2"] if config is None else config), **options}
    made: PPO = algorithm_class("GPT2Policy", TextGenVecEnv(2, letter_task()), policy_kwargs=kwargs, **settings)
    return made


def collect(model: SequenceOnPolicyAlgorithm) -> None:
    """Collect one rollout, without the rest of `learn`."""
    _, callback = model._setup_learn(1, None)
    assert model.env is not None
    assert model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)


def loss_of(policy: GPT2Policy, batch: Any) -> Tensor:
    """A loss that every result of `evaluate_actions` has a part in."""
    values, log_prob, entropy = policy.evaluate_actions(batch.observations, batch.actions)
    target: Tensor = (values[:, 0] - batch.returns).square().mean()
    loss: Tensor = target - (log_prob * batch.advantages).mean() - 0.1 * entropy.mean()
    return loss


def gradients_of(policy: GPT2Policy, batch: Any) -> dict[str, Tensor]:
    policy.zero_grad()
    loss_of(policy, batch).backward()
    return {name: one.grad.clone() for name, one in policy.named_parameters() if one.grad is not None}


def weights(policy: GPT2Policy) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in policy.state_dict().items()}


def changed(policy: GPT2Policy, before: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in policy.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize("critic", ["shared", "separate", None])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_values_are_0_at_first_with_every_critic(critic: Any, config: PretrainedConfig) -> None:
    model = algorithm(config, critic=critic)
    collect(model)
    buffer = model.rollout_buffer
    assert not buffer.old_values.any()
    batch = next(buffer.get(None))
    values, log_prob, _ = model.policy.evaluate_actions(batch.observations, batch.actions)
    assert values.shape == (buffer.n_tokens, 1)
    assert not values.any()
    torch.testing.assert_close(log_prob, batch.old_log_prob, atol=1e-5, rtol=0)


def test_a_separate_critic_leaves_the_actor_alone() -> None:
    model = algorithm(critic="separate")
    waken_critic(model.policy)
    collect(model)
    batch = next(model.rollout_buffer.get(None))
    model.policy.zero_grad()
    values, _, _ = model.policy.evaluate_actions(batch.observations, batch.actions)
    values.square().sum().backward()
    moved = {name for name, one in model.policy.named_parameters() if one.grad is not None and one.grad.any()}
    assert moved
    assert {name.split(".")[0] for name in moved} == {"value_net", "value_trunk"}
    # Decoding knows nothing of these values; the rollout has them all the same.
    torch.testing.assert_close(batch.old_values, values[:, 0].detach(), atol=1e-5, rtol=0)
    before = weights(model.policy)
    model.train()
    assert {name.split(".")[0] for name in changed(model.policy, before)} == {
        "language_model", "value_net", "value_trunk",
    }  # fmt: skip


def test_without_a_critic_nothing_learns_values_and_the_actor_learns() -> None:
    model = algorithm(critic=None)
    before = weights(model.policy)
    model.learn(80)
    assert not any("value" in name for name in before)
    assert changed(model.policy, before)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_frozen_layers_stay_and_the_rest_learns(config: PretrainedConfig, n_layers: int) -> None:
    model = algorithm(config, frozen_layers=n_layers)
    before = weights(model.policy)
    model.learn(80)
    moved = changed(model.policy, before)
    layers = {int(part) for name in moved for part in name.split(".") if part.isdigit()}
    assert layers == set(range(n_layers, 3))
    assert not any("wte" in name or "wpe" in name or "embed_tokens" in name for name in moved)
    assert any("ln_f" in name or "model.norm" in name for name in moved)


@pytest.mark.parametrize("critic", ["shared", "separate"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_frozen_part_is_computed_once_and_gives_the_same_numbers(config: PretrainedConfig, critic: str) -> None:
    """Results and gradients with what is stored equal those of whole forward passes, and the reference shares it."""
    model = algorithm(config, frozen_layers=2, critic=critic)
    waken_critic(model.policy)
    collect(model)
    buffer = model.rollout_buffer
    assert buffer.frozen_hidden is not None
    batch: Any = next(buffer.get(None))
    with_stored = gradients_of(model.policy, batch)
    reference = model.find_reference()
    assert reference is not None
    expected = score_tokens(reference.policy, buffer).log_prob
    buffer.keep_frozen_hidden(None)
    whole = batch._replace(observations={k: v for k, v in batch.observations.items() if k != "frozen_hidden"})
    without = gradients_of(model.policy, whole)
    assert with_stored.keys() == without.keys()
    for name, gradient in without.items():
        torch.testing.assert_close(with_stored[name], gradient, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(score_tokens(reference.policy, buffer).log_prob, expected, atol=1e-5, rtol=0)
    calls: list[int] = []
    block = next(module for name, module in model.policy.named_modules() if name.endswith((".h.0", ".layers.0")))
    block.register_forward_hook(lambda *_: calls.append(1))
    model.policy.evaluate_actions(batch.observations, batch.actions)
    assert not calls
    model.policy.evaluate_actions(whole.observations, whole.actions)
    assert calls


def shared_parameters(model: PPO) -> tuple[int, int]:
    """Return how many of the reference's numbers are the policy's own, and how many are not."""
    reference = model.find_reference()
    assert reference is not None
    ours = {one.data_ptr() for one in model.policy.parameters()}
    theirs = list(reference.policy.parameters())
    n_shared = sum(one.numel() for one in theirs if one.data_ptr() in ours)
    return n_shared, sum(one.numel() for one in theirs) - n_shared


@pytest.mark.parametrize("is_loaded", [False, True])
def test_the_reference_shares_what_is_frozen(tmp_path: Path, is_loaded: bool) -> None:
    language_model(CONFIGS["gpt2"]).save_pretrained(tmp_path / "model")
    model = algorithm(model=tmp_path / "model", frozen_layers=2).learn(60)
    if is_loaded:
        model.save(tmp_path / "saved.zip")
        model = PPO.load(tmp_path / "saved.zip", env=TextGenVecEnv(2, letter_task()), device="cpu")
    n_frozen = sum(one.numel() for one in model.policy.parameters() if not one.requires_grad)
    assert n_frozen > 0
    assert shared_parameters(model)[0] == n_frozen


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"critic": "both"}, "critic must be 'shared', 'separate' or None, got 'both'."),
        ({"frozen_layers": 4}, "frozen_layers must lie between 0 and the model's 3 layers, got 4."),
        ({"frozen_layers": -1}, "frozen_layers must be at least 0, got -1."),
        ({"autocast": "float16"}, "autocast must be None or one of ('bfloat16',), got 'float16'."),
        ({"micro_batch_size": 0}, "micro_batch_size must be at least 1, got 0."),
        (
            {"lora": 2, "frozen_layers": 1},
            "lora freezes the whole model, so frozen_layers must be 0 with it; leave one of them out.",
        ),
    ],
)
def test_options_out_of_range_are_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=exactly(message)):
        algorithm(**options)


@pytest.mark.parametrize("critic", ["shared", "separate"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize(
    "options", [{"micro_batch_size": 20}, {"micro_batch_size": 1}, {"gradient_checkpointing": True},
                {"micro_batch_size": 20, "gradient_checkpointing": True, "frozen_layers": 1}],
    ids=["micro_batches", "single_rows", "checkpointed_blocks", "all"],
)  # fmt: skip
def test_saving_memory_does_not_change_the_gradient(
    config: PretrainedConfig, critic: str, options: dict[str, Any]
) -> None:
    model = algorithm(config, critic=critic, **options)
    waken_critic(model.policy)
    collect(model)
    plain = algorithm(config, critic=critic, frozen_layers=options.get("frozen_layers", 0))
    plain.policy.load_state_dict(model.policy.state_dict())
    batch = next(model.rollout_buffer.get(None))
    ours, expected = gradients_of(model.policy, batch), gradients_of(plain.policy, batch)
    assert ours.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(ours[name], gradient, atol=1e-5, rtol=0)


class Saved:
    """Bytes that the backward pass is given to keep."""

    def __init__(self) -> None:
        self.n_bytes = 0

    def pack(self, tensor: Tensor) -> Tensor:
        self.n_bytes += tensor.numel() * tensor.element_size()
        return tensor

    def measure(self, policy: GPT2Policy, batch: Any) -> int:
        self.n_bytes = 0
        with torch.autograd.graph.saved_tensors_hooks(self.pack, lambda tensor: tensor):
            loss_of(policy, batch)
        return self.n_bytes


@pytest.mark.parametrize("options", [{"micro_batch_size": 20}, {"gradient_checkpointing": True}])
def test_less_is_kept_for_the_backward_pass(options: dict[str, Any]) -> None:
    plain, saving = algorithm(), algorithm(**options)
    collect(plain)
    batch = next(plain.rollout_buffer.get(None))
    assert Saved().measure(saving.policy, batch) < 0.5 * Saved().measure(plain.policy, batch)


@pytest.mark.parametrize("algorithm_class", [PPO, A2C])
def test_an_update_in_micro_batches_equals_one_without(algorithm_class: Any) -> None:
    models = [algorithm(algorithm_class=algorithm_class, micro_batch_size=size) for size in (None, 15)]
    for model in models:
        model.learn(40)
    expected = models[0].policy.state_dict()
    for name, tensor in models[1].policy.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-4, rtol=0)


def test_in_bfloat16_a_rollout_is_scored_again_as_it_is_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first update's ratios are those of the re-scored probabilities, so 1, however far off the sampled ones were.

    In so small a model both may be rounded alike, so the sampled ones are moved by an eighth.
    """
    model = algorithm(autocast="bfloat16", settings={"batch_size": 10_000, "n_epochs": 1})
    waken_critic(model.policy)
    choose = model.policy.choose

    def choose_with_a_gap(*args: Any) -> tuple[torch.Tensor, torch.Tensor]:
        token_ids, log_prob = choose(*args)
        return token_ids, log_prob - 0.125

    monkeypatch.setattr(model.policy, "choose", choose_with_a_gap)
    collect(model)
    assert model.logger.name_to_value["rollout/log_prob_gap"] == pytest.approx(0.125, abs=0.02)
    assert abs(model.logger.name_to_value["rollout/kl"]) < 1e-2
    batch = next(model.rollout_buffer.get(None))
    values, log_prob, _ = model.policy.evaluate_actions(batch.observations, batch.actions)
    assert {values.dtype, log_prob.dtype} == {torch.float32}
    assert {parameter.dtype for parameter in model.policy.parameters()} == {torch.float32}
    # Rows are put together otherwise in scoring, which may round a product otherwise.
    torch.testing.assert_close(log_prob, batch.old_log_prob, atol=2e-2, rtol=0)
    plain = algorithm()
    plain.policy.load_state_dict(model.policy.state_dict())
    exact = plain.policy.evaluate_actions(batch.observations, batch.actions)[1]
    assert 1e-4 < float((exact - log_prob).abs().max().detach()) < 0.3
    model.learn(40)


def test_in_float32_nothing_is_scored_twice() -> None:
    model = algorithm()
    collect(model)
    assert "rollout/log_prob_gap" not in model.logger.name_to_value


def test_a_new_adapter_changes_nothing_and_learns_alone() -> None:
    pytest.importorskip("peft")
    for config in CONFIGS.values():
        model, plain = algorithm(config, lora=2), algorithm(config)
        batch = TextGenVecEnv(4, letter_task()).reset()
        obs = {key: torch.as_tensor(array) for key, array in batch.items()}  # type: ignore[union-attr]
        actions = torch.zeros(4)
        torch.testing.assert_close(
            model.policy.evaluate_actions(obs, actions)[1], plain.policy.evaluate_actions(obs, actions)[1]
        )
        before = weights(model.policy)
        model.learn(80)
        moved = changed(model.policy, before)
        assert all("lora_" in name or name.startswith("value_net.") for name in moved)
        assert {name.split(".")[-3] for name in moved if "lora_" in name} == {"lora_A", "lora_B"}


@pytest.mark.parametrize("critic", ["shared", "separate"])
def test_the_reference_is_the_base_with_the_adapter_off_and_no_copy(tmp_path: Path, critic: str) -> None:
    pytest.importorskip("peft")
    model = algorithm(lora={"r": 2, "lora_alpha": 8}, critic=critic)
    task = model.task
    base = algorithm()
    model.learn(200)
    model.save(tmp_path / "saved.zip")
    # Without the file or object that the model came from.
    loaded = PPO.load(tmp_path / "saved.zip", env=TextGenVecEnv(2, letter_task()), device="cpu")
    assert not changed(loaded.policy, weights(model.policy))
    for each in (model, loaded):
        collect(each)
        reference = each.find_reference()
        assert reference is not None
        base.rollout_buffer = each.rollout_buffer
        expected = score_tokens(base.policy, each.rollout_buffer).log_prob
        torch.testing.assert_close(reference.log_prob(each.rollout_buffer), expected, atol=1e-5, rtol=0)
        assert abs(float(each.logger.name_to_value["rollout/kl"])) > 1e-3
        n_shared, n_copied = shared_parameters(each)
        assert n_shared > 5 * n_copied
    texts = [[item.text for item in generate_episodes(each.policy, task, range(9), seed=0)] for each in (model, loaded)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    "settings",
    [
        {"r": 2, "alpha_pattern": {"c_fc": 64}},
        {"r": 2, "rank_pattern": {"c_attn": 3}},
        {"r": 2, "target_modules": ["c_attn"], "layers_to_transform": [0]},
        {"r": 2, "use_dora": True},
        {"r": 2, "target_modules": ["c_attn", "c_fc"], "use_rslora": True},
    ],
    ids=lambda settings: list(settings)[-1],
)
def test_an_adapter_comes_back_with_all_its_settings(tmp_path: Path, settings: dict[str, Any]) -> None:
    pytest.importorskip("peft")
    model = algorithm(lora=settings).learn(200)
    model.save(tmp_path / "saved.zip")
    loaded = PPO.load(tmp_path / "saved.zip", env=TextGenVecEnv(2, letter_task()), device="cpu")
    ids = torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        expected, base = model.policy.language_model(ids).logits, language_model(CONFIGS["gpt2"])(ids).logits
        torch.testing.assert_close(loaded.policy.language_model(ids).logits, expected, atol=1e-6, rtol=0)
    assert not torch.allclose(base, expected, atol=1e-3)


# peft asks transformers by a name that the latter is about to drop.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_an_adapter_is_saved_alone_or_merged(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model = algorithm(lora=4).learn(200)
    ids = torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        expected = model.policy.language_model(ids).logits
        save_lora(model.policy.language_model, tmp_path / "adapter")
        files = {path.name for path in (tmp_path / "adapter").iterdir()}
        assert files >= {"adapter_config.json", "adapter_model.safetensors"}
        assert not {"model.safetensors", "adapter_model.bin"} & files
        by_peft = peft.PeftModel.from_pretrained(language_model(CONFIGS["gpt2"]), str(tmp_path / "adapter"))
        torch.testing.assert_close(by_peft(ids).logits, expected, atol=1e-5, rtol=0)
        ours = algorithm(lora=tmp_path / "adapter")
        torch.testing.assert_close(ours.policy.language_model(ids).logits, expected, atol=1e-5, rtol=0)
        whole = merged(model.policy.language_model)
        whole.save_pretrained(tmp_path / "merged")
        plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
        torch.testing.assert_close(plain(ids).logits, expected, atol=1e-5, rtol=0)
        assert not torch.allclose(language_model(CONFIGS["gpt2"])(ids).logits, expected, atol=1e-3)
        torch.testing.assert_close(model.policy.language_model(ids).logits, expected)
    ours.learn(40)


def test_an_adapter_that_was_trained_with_dropout_is_gone_on_with_and_loaded(tmp_path: Path) -> None:
    """As most that others share were; the dropout itself is off."""
    pytest.importorskip("peft")
    save_lora(algorithm(lora=4).learn(200).policy.language_model, tmp_path / "adapter")
    file = tmp_path / "adapter/adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "lora_dropout": 0.05}))
    model = algorithm(lora=tmp_path / "adapter").learn(40)
    model.save(tmp_path / "saved.zip")
    loaded = PPO.load(tmp_path / "saved.zip", device="cpu")
    ids = torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        torch.testing.assert_close(loaded.policy.language_model(ids).logits, model.policy.language_model(ids).logits)


def test_a_folder_without_adapter_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    message = f"The folder {tmp_path} holds no adapter; expected what save_lora writes."
    with pytest.raises(ValueError, match=exactly(message)):
        algorithm(lora=tmp_path)
    with pytest.raises(ValueError, match=exactly("The rank of lora must be at least 1, got 0.")):
        algorithm(lora=0)
    with pytest.raises(TypeError, match=r"^lora must be a rank, settings of peft\.LoraConfig, or an adapter"):
        algorithm(lora=True)
    with pytest.raises(ValueError, match=r"^lora_dropout must be 0, got 0\.1: an update"):
        algorithm(lora={"r": 2, "lora_dropout": 0.1})


@pytest.mark.parametrize(
    "options",
    [{"critic": "separate"}, {"critic": None}, {"frozen_layers": 2, "critic": "separate"}, {"lora": 2},
     {"autocast": "bfloat16"}, {"micro_batch_size": 20, "gradient_checkpointing": True}],
    ids=["separate", "none", "frozen", "lora", "bfloat16", "saving"],
)  # fmt: skip
def test_every_option_is_saved_loaded_and_learned_on_with(tmp_path: Path, options: dict[str, Any]) -> None:
    if "lora" in options:
        pytest.importorskip("peft")
    language_model(CONFIGS["gpt2"]).save_pretrained(tmp_path / "model")
    runs = [algorithm(model=tmp_path / "model", **copy.deepcopy(options)) for _ in range(2)]
    runs[0].learn(40)
    runs[0].learn(80, reset_num_timesteps=False)
    runs[1].learn(40)
    runs[1].save(tmp_path / "saved.zip")
    env = TextGenVecEnv(2, letter_task())
    resumed = PPO.load(tmp_path / "saved.zip", env=env, device="cpu")
    resumed.learn(80, reset_num_timesteps=False)
    assert resumed.num_timesteps == runs[0].num_timesteps
    assert not changed(resumed.policy, weights(runs[0].policy))
    observation: dict[str, np.ndarray] = env.reset()  # type: ignore[assignment]
    assert resumed.predict(observation, deterministic=True)[0].shape == (2,)
    resumed.policy.save(str(tmp_path / "policy.pth"))
    alone = GPT2Policy.load(str(tmp_path / "policy.pth"), device="cpu")
    assert not changed(alone, weights(resumed.policy))


def test_a_reference_forwards_no_more_positions_at_once_than_a_micro_batch() -> None:
    model = algorithm(gpt2_config(), micro_batch_size=30)
    collect(model)
    reference = model.find_reference()
    assert reference is not None
    expected = score_tokens(reference.policy, model.rollout_buffer).log_prob
    sizes, decisions = [], reference.policy.decisions

    def noted(obs: Any, trunk: Any = None) -> Any:
        sizes.append(obs["input_ids"].numel())
        return decisions(obs, trunk)

    reference.policy.decisions = noted  # type: ignore[method-assign]
    torch.testing.assert_close(reference.log_prob(model.rollout_buffer), expected, atol=1e-5, rtol=0)
    assert len(sizes) > 1
    assert max(sizes) <= 30
