"""Saved and loaded: the same actions, and training goes on as if it had never stopped; the reference is found again."""

import io
import itertools
import operator
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecMonitor
from transformers import AutoModelForCausalLM, PreTrainedModel

from tests.agents.tiny import exactly, gpt2_config, language_model, letter_policy, letter_task, llama_config
from textgym.agents import (
    A2C,
    DQN,
    GRPO,
    NLPO,
    PPG,
    PPO,
    QRDQN,
    REINFORCE,
    RLOO,
    TRPO,
    DoubleDQN,
    GPT2Policy,
    MaskablePPO,
    TextGenVecEnv,
    evaluate,
)
from textgym.agents.generation import generate_episodes
from textgym.task import TextTask


def environment(task: TextTask | None = None) -> VecMonitor:
    return VecMonitor(TextGenVecEnv(3, letter_task() if task is None else task))


def algorithm(task: TextTask | None = None, **settings: Any) -> PPO:
    defaults = {"n_steps": 20, "n_epochs": 2, "batch_size": 30, "seed": 0, "device": "cpu", "learning_rate": 1e-3}
    kwargs = {"model": language_model()}
    return PPO("GPT2Policy", environment(task), **{**defaults, "policy_kwargs": kwargs, **settings})


def assert_equal_weights(first: PPO, second: PPO) -> None:
    ours, theirs = first.policy.state_dict(), second.policy.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def embeddings(model: PreTrainedModel) -> torch.Tensor:
    weight: torch.Tensor = model.state_dict()["transformer.wte.weight"]
    return weight


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A folder as `save_pretrained` writes it."""
    folder = tmp_path / "model"
    language_model().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("with_env", [True, False])
def test_a_loaded_algorithm_acts_as_the_saved_one(tmp_path: Path, with_env: bool) -> None:
    task = letter_task(banned_token_ids=[1], min_new_tokens=2)
    model = algorithm(task, policy_kwargs={"model": language_model(), "temperature": 0.7}).learn(120)
    model.save(tmp_path / "saved")
    loaded = PPO.load(tmp_path / "saved", env=environment(task) if with_env else None, device="cpu")
    assert_equal_weights(model, loaded)
    observation: dict[str, np.ndarray] = TextGenVecEnv(40, task).reset()  # type: ignore[assignment]
    for deterministic in (True, False):
        actions = []
        for each in (model, loaded):
            torch.manual_seed(1)
            actions.append(each.predict(observation, deterministic=deterministic)[0].tolist())
        assert actions[0] == actions[1]
    episodes = [list(generate_episodes(each.policy, task, range(20), seed=0)) for each in (model, loaded)]
    assert [item.text for item in episodes[0]] == [item.text for item in episodes[1]]
    assert [item.log_prob.tolist() for item in episodes[0]] == [item.log_prob.tolist() for item in episodes[1]]


RUNS: dict[str, dict[str, Any]] = {
    "plain": {"reference": None},
    "adaptive_kl": {"kl_target": 0.05, "kl_horizon": 50, "kl_coef": 0.2},
    "scheduled_kl": {"kl_coef": LinearSchedule(0.1, 1.0, end_fraction=1.0)},
    "replay": {"reference": None, "self_imitation": 0.5, "potential_shaping": True},
    "schedule": {"reference": None, "learning_rate": 1e-3, "clip_range": 0.1, "clip_range_vf": 0.2, "target_kl": 0.01},
}


@pytest.mark.parametrize("settings", RUNS.values(), ids=RUNS)
def test_a_run_that_was_stopped_and_resumed_equals_one_that_was_not(
    tmp_path: Path, model_folder: Path, settings: dict[str, Any]
) -> None:
    """Weights, the optimiser's state, the coefficient of KL, prompts, tokens and minibatches."""
    settings = {**settings, "policy_kwargs": {"model": str(model_folder)}}
    whole = algorithm(**settings)
    whole.learn(100)
    whole.learn(160, reset_num_timesteps=False)
    stopped = algorithm(**settings)
    stopped.learn(100)
    stopped.save(tmp_path / "saved.zip")
    del stopped
    torch.manual_seed(99)
    resumed = PPO.load(tmp_path / "saved.zip", env=environment(), device="cpu")
    resumed.learn(160, reset_num_timesteps=False)
    assert resumed.num_timesteps == whole.num_timesteps
    assert resumed.n_episodes_started == whole.n_episodes_started
    assert_equal_weights(whole, resumed)
    assert resumed.kl_controller.price(0.5) == whole.kl_controller.price(0.5)
    states = [each.policy.optimizer.state_dict()["state"] for each in (whole, resumed)]
    for key, state in states[0].items():
        assert all(torch.equal(state[name], states[1][key][name]) for name in state)


def test_the_saved_file_holds_neither_the_reference_nor_the_tokenizer(tmp_path: Path) -> None:
    """Weights once, the optimiser's two moments, and little else."""
    wide = gpt2_config(n_embd=64, n_head=4)
    model = algorithm(policy_kwargs={"model": language_model(wide)}).learn(40)
    n_bytes = sum(4 * tensor.numel() for tensor in model.policy.parameters())
    model.save(tmp_path / "saved.zip")
    with zipfile.ZipFile(tmp_path / "saved.zip") as file:
        data = file.getinfo("data").file_size
        # Tied heads are one tensor in the file.
        assert file.getinfo("policy.pth").file_size < 1.2 * n_bytes
        assert file.getinfo("policy.optimizer.pth").file_size < 2.3 * n_bytes
    assert data < 60_000


@pytest.mark.parametrize("kind", ["object", "folder", "text", "configuration"])
def test_a_policy_is_made_from_an_object_a_folder_or_a_configuration(kind: str, model_folder: Path) -> None:
    model = language_model()
    sources = {"object": model, "folder": model_folder, "text": str(model_folder), "configuration": gpt2_config()}
    policy = algorithm(policy_kwargs={"model": sources[kind]}, seed=1).policy
    is_equal = torch.equal(embeddings(policy.language_model), embeddings(model))
    assert is_equal == (kind != "configuration")
    assert policy.language_model is not model


def test_a_model_that_cannot_be_found_is_an_error(tmp_path: Path, model_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"No model named '.*/modle'.* Did you mean 'model'\?"):
        algorithm(policy_kwargs={"model": tmp_path / "modle"})
    (tmp_path / "empty").mkdir()
    message = (
        f"The folder {tmp_path / 'empty'} holds no language model that transformers can load; expected what "
        "save_pretrained writes."
    )
    with pytest.raises(ValueError, match=exactly(message)):
        algorithm(policy_kwargs={"model": tmp_path / "empty"})


@pytest.mark.parametrize("config", [gpt2_config(), llama_config()], ids=["gpt2", "llama"])
def test_a_policy_is_saved_and_loaded_by_itself(tmp_path: Path, config: Any) -> None:
    task = letter_task(banned_token_ids=[4], min_new_tokens=1)
    policy = letter_policy(task, language_model(config), temperature=0.6)
    policy.save(str(tmp_path / "policy.pth"))
    loaded = GPT2Policy.load(str(tmp_path / "policy.pth"), device="cpu")
    assert loaded.token_rules == policy.token_rules
    assert loaded.temperature == 0.6
    texts = [[item.text for item in generate_episodes(each, task, range(9), seed=0)] for each in (policy, loaded)]
    assert texts[0] == texts[1]


def test_what_was_trained_loads_in_transformers(tmp_path: Path) -> None:
    model = algorithm().learn(60)
    model.policy.language_model.save_pretrained(tmp_path / "trained")
    plain: PreTrainedModel = AutoModelForCausalLM.from_pretrained(tmp_path / "trained")
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        torch.testing.assert_close(plain(ids).logits, model.policy.language_model(ids).logits)
    again = algorithm(policy_kwargs={"model": tmp_path / "trained"})
    assert torch.equal(embeddings(again.policy.language_model), embeddings(model.policy.language_model))


def test_a_reference_is_found_again_by_the_folder_of_the_policys_model(tmp_path: Path, model_folder: Path) -> None:
    model = algorithm(policy_kwargs={"model": model_folder}, learning_rate=1e-2).learn(120)
    model.save(tmp_path / "saved")
    loaded = PPO.load(tmp_path / "saved", env=environment(), device="cpu")
    expected = kl_of_next_rollout(model)
    assert expected > 0.05
    assert kl_of_next_rollout(loaded) == pytest.approx(expected, abs=1e-6)


def kl_of_next_rollout(model: PPO) -> float:
    kept: list[float] = []
    estimate = model.rollout_buffer.estimate_returns

    def keep() -> None:
        kept.append(float(model.logger.name_to_value["rollout/kl"]))
        estimate()

    model.rollout_buffer.estimate_returns = keep  # type: ignore[method-assign]
    model.learn(1, reset_num_timesteps=False)
    return kept[0]


def test_a_reference_of_its_own_is_used_and_found_again(tmp_path: Path) -> None:
    other = tmp_path / "other"
    language_model(seed=5).save_pretrained(other)
    model = algorithm(reference=str(other))
    model.save(tmp_path / "saved")
    loaded = PPO.load(tmp_path / "saved", env=environment(), device="cpu")
    kl = kl_of_next_rollout(model)
    assert kl > 0.05
    assert kl_of_next_rollout(loaded) == pytest.approx(kl, abs=1e-6)


def test_a_reference_that_was_an_object_is_asked_for(tmp_path: Path) -> None:
    model = algorithm(learning_rate=1e-2).learn(60)
    model.save(tmp_path / "saved")
    message = "The reference model was given as an object, which is not saved; pass it again: load(…, reference=model)."
    loaded = PPO.load(tmp_path / "saved", env=environment(), device="cpu")
    with pytest.raises(ValueError, match=exactly(message)):
        loaded.learn(60)
    given = PPO.load(tmp_path / "saved", env=environment(), device="cpu", reference=language_model())
    assert kl_of_next_rollout(given) == pytest.approx(kl_of_next_rollout(model), abs=1e-6)


def test_another_reference_than_the_saved_one_is_an_error(tmp_path: Path, model_folder: Path) -> None:
    algorithm(policy_kwargs={"model": model_folder}).save(tmp_path / "saved")
    other = language_model(seed=3)
    other.save_pretrained(tmp_path / "other")
    message = (
        f"The reference model {str(tmp_path / 'other')!r} is not the one that training began with; pass that one: "
        "load(…, reference=model)."
    )
    loaded = PPO.load(tmp_path / "saved", env=environment(), device="cpu", reference=str(tmp_path / "other"))
    with pytest.raises(ValueError, match=exactly(message)):
        loaded.learn(60)
    other.save_pretrained(model_folder)
    message = message.replace(str(tmp_path / "other"), str(model_folder))
    with pytest.raises(ValueError, match=exactly(message)):
        PPO.load(tmp_path / "saved", env=environment(), device="cpu").learn(60)


def test_a_reference_that_is_gone_is_an_error_that_names_it(tmp_path: Path, model_folder: Path) -> None:
    algorithm(policy_kwargs={"model": model_folder}).save(tmp_path / "saved")
    model_folder.rename(tmp_path / "moved")
    with pytest.raises(ValueError, match=f"No model named '{model_folder}'"):
        PPO.load(tmp_path / "saved", env=environment(), device="cpu").learn(60)
    loaded = PPO.load(tmp_path / "saved", env=environment(), device="cpu", reference=tmp_path / "moved")
    assert abs(kl_of_next_rollout(loaded)) < 1e-4


def test_an_algorithm_loaded_for_another_task_follows_its_rules(tmp_path: Path) -> None:
    algorithm(letter_task(banned_token_ids=[0, 1])).save(tmp_path / "saved")
    other = letter_task(banned_token_ids=[9, 10], min_new_tokens=4)
    loaded = PPO.load(tmp_path / "saved", env=environment(other), device="cpu", reference=language_model())
    loaded.learn(60)
    used = {token for item in evaluate(loaded, other, 60).episodes for token in item.episode.text.token_ids}
    assert not used & {9, 10}
    assert used >= {0, 1}


def test_an_environment_can_be_set_later(tmp_path: Path) -> None:
    model = algorithm(reference=None)
    model.save(tmp_path / "saved")
    loaded = PPO.load(tmp_path / "saved", device="cpu")
    message = "There is no environment; give one to `load(…, env=…)` or `set_env`."
    with pytest.raises(ValueError, match=exactly(message)):
        _ = loaded.task
    loaded.set_env(environment())
    loaded.learn(60)
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        loaded.set_env(environment(letter_task(max_new_tokens=9)))


def test_with_no_more_than_an_id_it_is_the_bundled_model_which_is_also_the_reference(tmp_path: Path) -> None:
    """Saved without the reference, which is found again by its name."""
    model = PPO("GPT2Policy", "TextGen-v0", n_steps=40, n_epochs=1, batch_size=64, seed=0, device="cpu")
    assert model.task.vocab_size == model.policy.vocab_size
    assert abs(kl_of_next_rollout(model)) < 1e-3
    model.save(tmp_path / "saved")
    loaded = PPO.load(tmp_path / "saved", env="TextGen-v0", device="cpu")  # type: ignore[arg-type]
    assert loaded.reference_store.source == "bundled"
    kl = kl_of_next_rollout(loaded)
    assert 0 < abs(kl) < 1
    assert kl == kl_of_next_rollout(model)


CHANGES: dict[str, tuple[Any, str]] = {
    "kl_coef": (0.7, "kl_controller.coefficient"),
    "kl_target": (3.0, "kl_controller.target"),
    "kl_horizon": (77, "kl_controller.horizon"),
    "learning_rate": (5e-4, "learning_rate"),
    "gamma": (0.9, "rollout_buffer.gamma"),
    "batch_size": (17, "batch_size"),
    "self_imitation": (0.25, "self_imitation"),
    "seed": (5, "rollout_buffer.seed"),
}


def test_settings_given_to_load_take_effect(tmp_path: Path) -> None:
    algorithm().save(tmp_path / "saved.zip")
    changes = {name: value for name, (value, _) in CHANGES.items()}
    loaded = PPO.load(tmp_path / "saved.zip", env=environment(), device="cpu", **changes)
    for value, place in CHANGES.values():
        assert operator.attrgetter(place)(loaded) == value, place
    assert loaded.lr_schedule(1.0) == 5e-4
    assert "kl_coef" not in vars(loaded)
    again = PPO.load(tmp_path / "saved.zip", device="cpu")
    assert again.kl_controller.coefficient == 0.02


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"kl_coef": -1.0}, ValueError, "kl_coef must be at least 0, got -1.0."),
        ({"decode_rows": 0}, ValueError, "decode_rows must be at least 1, got 0."),
        ({"batch_size": 1}, ValueError, "batch_size must be at least 2 tokens, got 1."),
        (
            {"policy_kwargs": {"temperature": 2.0}},
            ValueError,
            "PPO.load cannot change policy_kwargs: the network is the saved one.",
        ),
        (
            {"stats_window_size": 7},
            ValueError,
            "PPO.load cannot change stats_window_size; it is decided where the algorithm is made.",
        ),
        ({"kl_coeff": 0.1}, TypeError, "PPO has no argument 'kl_coeff'. Did you mean 'kl_coef'?"),
    ],
)
def test_settings_that_load_would_ignore_are_errors(
    tmp_path: Path, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    algorithm().save(tmp_path / "saved.zip")
    with pytest.raises(error, match=re.escape(message)):
        PPO.load(tmp_path / "saved.zip", **settings)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))


def write_text(path: Path) -> None:
    path.write_text("no archive")


def write_other_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("letter.txt", "an archive of something else")


@pytest.mark.parametrize("damage", [cut, flip, write_text, write_other_archive])
def test_a_file_that_is_no_whole_checkpoint_is_one_clear_error(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "saved.zip"
    algorithm().save(path)
    damage(path)
    message = f"{path} is damaged or no checkpoint at all; expected the whole .zip file that PPO.save writes."
    with pytest.raises(ValueError, match=exactly(message)):
        PPO.load(path)


def test_a_checkpoint_of_another_class_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plain.zip"
    stable_baselines3.PPO("MlpPolicy", "CartPole-v1", device="cpu").save(path)
    message = (
        f"{path} was not saved by this version's PPO: it has no archive. Load it with the class and the version that "
        "saved it, or take over its weights alone by set_parameters, in a model whose networks are alike."
    )
    with pytest.raises(ValueError, match=exactly(message)):
        PPO.load(path)


def test_a_checkpoint_is_read_from_an_open_file(tmp_path: Path) -> None:
    model = algorithm()
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    assert_equal_weights(PPO.load(file, device="cpu"), model)


KILLED_WHILE_SAVING = """
import os, random, signal, sys, time
from tests.agents.test_persistence import algorithm
from tests.agents.tiny import gpt2_config, language_model
from textgym.agents import PPO

path = sys.argv[1]
model = algorithm(policy_kwargs={"model": language_model(gpt2_config(n_embd=128, n_layer=4))})
model.save(path)
for attempt in range(5):
    child = os.fork()
    if child == 0:
        while True:
            model.num_timesteps += 1
            model.save(path)
    time.sleep(0.1 + 0.3 * random.random())
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print(PPO.load(path, device="cpu").num_timesteps)
"""


def test_a_kill_at_any_moment_leaves_the_last_whole_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "saved.zip"
    command = [sys.executable, "-c", KILLED_WHILE_SAVING, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert result.returncode == 0, result.stderr
    saved = [int(line) for line in result.stdout.split()]
    assert len(saved) == 5
    assert max(saved) > 0


def test_a_save_that_fails_leaves_the_file_before_it(tmp_path: Path) -> None:
    path = tmp_path / "saved.zip"
    model = algorithm()
    model.save(path)
    before = path.read_bytes()
    model.unpicklable = (line for line in "")  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        model.save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["saved.zip"]


def test_a_missing_reference_is_reported_before_the_first_rollout(tmp_path: Path, model_folder: Path) -> None:
    algorithm(policy_kwargs={"model": model_folder}).save(tmp_path / "saved.zip")
    shutil.rmtree(model_folder)
    loaded = PPO.load(tmp_path / "saved.zip", env=environment(), device="cpu")
    with pytest.raises(ValueError, match=r"^No model named"):
        loaded.learn(40)
    assert loaded.num_timesteps == 0


KINDS: list[Any] = [A2C, DQN, GRPO, NLPO, PPG, PPO, QRDQN, REINFORCE, RLOO, TRPO, DoubleDQN, MaskablePPO]


def test_a_checkpoint_of_another_of_our_algorithms_is_refused_by_its_name(tmp_path: Path) -> None:
    """Also where one has all that the other asks for, as PPO's has for A2C."""
    env = TextGenVecEnv(2, letter_task(completions_per_prompt=2))
    for kind in KINDS:
        kind("GPT2Policy", env, policy_kwargs={"model": language_model()}, device="cpu").save(tmp_path / kind.__name__)
    for kind, other in itertools.permutations(KINDS, 2):
        path = tmp_path / f"{other.__name__}.zip"
        message = f"{path} was saved by {other.__name__}; load it by {other.__name__}.load."
        with pytest.raises(ValueError, match=exactly(message)):
            kind.load(path, device="cpu")
    assert all(type(kind.load(tmp_path / kind.__name__, device="cpu")) is kind for kind in KINDS)


def test_a_reference_can_be_left_out_on_loading(tmp_path: Path) -> None:
    algorithm().save(tmp_path / "saved.zip")
    loaded = PPO.load(tmp_path / "saved.zip", env=environment(), device="cpu", reference=None)
    loaded.learn(40)
    assert loaded.find_reference() is None
    assert "rollout/kl" not in loaded.logger.name_to_value
    loaded.save(tmp_path / "again.zip")
    assert PPO.load(tmp_path / "again.zip", env=environment(), device="cpu").find_reference() is None


def test_the_default_number_of_steps_may_be_asked_for_on_loading(tmp_path: Path) -> None:
    algorithm(reference=None).save(tmp_path / "saved.zip")
    loaded = PPO.load(tmp_path / "saved.zip", env=environment(), device="cpu", n_steps=None)
    assert loaded.n_steps == 4096 // 3


def test_default_steps_follow_the_rows_of_the_environment_and_given_ones_do_not(tmp_path: Path) -> None:
    env = TextGenVecEnv(64, letter_task())
    for given, expected in ((None, 64), (20, 20)):
        algorithm(reference=None, n_steps=given).save(tmp_path / "saved.zip")
        PPO.load(tmp_path / "saved.zip", device="cpu").save(tmp_path / "again.zip")
        assert PPO.load(tmp_path / "again.zip", env=env, device="cpu").n_steps == expected
    assert PPO.load(tmp_path / "saved.zip", env=env, device="cpu", n_steps=7).n_steps == 7


def test_an_environment_that_is_set_later_has_the_steps_that_were_saved(tmp_path: Path) -> None:
    env = TextGenVecEnv(64, letter_task())
    model = PPO("GPT2Policy", env, reference=None, device="cpu", policy_kwargs={"model": language_model()})
    assert model.n_steps == 64
    model.save(tmp_path / "saved.zip")
    loaded = PPO.load(tmp_path / "saved.zip", device="cpu")
    loaded.set_env(env)
    assert loaded.n_steps == 64
    few = TextGenVecEnv(3, letter_task())
    assert PPO.load(tmp_path / "saved.zip", env=few, device="cpu", n_steps=64).n_steps == 64


def test_a_seed_that_is_set_later_decides_what_is_generated() -> None:
    def generated(seed: int, later: int | None) -> list[tuple[int, ...]]:
        model = algorithm(seed=seed)
        model.set_random_seed(later)
        model.learn(20)
        return list(map(tuple, model.rollout_buffer.token_ids.split(1)))

    assert generated(0, 5) == generated(5, None) != generated(0, None)


@pytest.mark.parametrize("kind", [PPO, DQN])
def test_a_seed_that_is_set_later_is_saved_with_all_that_follows_from_it(tmp_path: Path, kind: Any) -> None:
    settings: dict[str, Any] = {"n_steps": 20, "batch_size": 20} if kind is PPO else {"learning_starts": 20}
    settings |= {"learning_rate": 1e-2, "seed": 0, "device": "cpu", "policy_kwargs": {"model": language_model()}}
    models = [kind("GPT2Policy", environment(), **settings) for _ in range(2)]
    for number, model in enumerate(models):
        model.set_random_seed(5)
        model.learn(60)
        if number:
            model.save(tmp_path / "saved.zip")
            model.save_replay_buffer(tmp_path / "replay") if kind is DQN else None
            model = kind.load(tmp_path / "saved.zip", env=environment(), device="cpu", reference=language_model())
            model.load_replay_buffer(tmp_path / "replay") if kind is DQN else None
            models[number] = model
        model.learn(60, reset_num_timesteps=False)
    assert_equal_weights(*models)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (PPO, {"rollout_buffer_class": dict}),
        (PPO, {"rollout_buffer_kwargs": {"x": 1}}),
        (PPO, {"sde_sample_freq": 4}),
        (DQN, {"replay_buffer_class": dict}),
        (DQN, {"replay_buffer_kwargs": {"x": 1}}),
    ],
)
def test_arguments_that_would_have_no_effect_are_errors(kind: Any, arguments: dict[str, Any]) -> None:
    ((name, value),) = arguments.items()
    message = (
        f"{name} must be left out: episodes are kept in buffers of their own, and use_sde is for continuous actions; "
        f"got {value!r}."
    )
    with pytest.raises(ValueError, match=exactly(message)):
        kind("GPT2Policy", environment(), policy_kwargs={"model": language_model()}, **arguments)


def test_what_is_left_out_of_a_file_is_what_the_constructor_makes_it(tmp_path: Path, model_folder: Path) -> None:
    model = algorithm(policy_kwargs={"model": str(model_folder)}, ent_coef=0.3, kl_coef=0.7).learn(40)
    left_out = ["ent_coef", "kl_controller", "lr_schedule", "learning_rate", "seed", "ep_info_buffer", "archive"]
    model.save(tmp_path / "saved.zip", exclude=left_out)
    loaded = PPO.load(tmp_path / "saved.zip", env=environment(), device="cpu")
    assert_equal_weights(model, loaded)
    example = PPO("GPT2Policy", None, _init_setup_model=False)
    assert loaded.ent_coef == example.ent_coef
    assert loaded.kl_controller.coefficient == example.kl_controller.coefficient
    loaded.learn(80, reset_num_timesteps=False)
    loaded.save(tmp_path / "again.zip")
    PPO.load(tmp_path / "again.zip")
    model.save(tmp_path / "included.zip", exclude=["policy_class"], include=["policy_class"])
    before = (tmp_path / "saved.zip").read_bytes()
    message = "exclude cannot have 'policy_kwargs': without it the file would be of no use."
    with pytest.raises(ValueError, match=exactly(message)):
        model.save(tmp_path / "saved.zip", exclude=["policy_kwargs"])
    assert (tmp_path / "saved.zip").read_bytes() == before
