"""Value-based algorithms, saved and loaded: the same actions, and training goes on as if it had never stopped."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from stable_baselines3.common.buffers import DictReplayBuffer

from tests.agents.tiny import VOCAB_SIZE, exactly, language_model, letter_task
from textgym.agents import DQN, QRDQN, DoubleDQN, TextGenVecEnv, evaluate
from textgym.agents.scoring import probable_tokens

RUNS: dict[str, tuple[type[DQN], dict[str, Any]]] = {
    "dqn_with_candidates": (DQN, {"candidates": 4, "n_steps": 2}),
    "double_dqn": (DoubleDQN, {"exploration": "uniform", "tau": 0.5, "target_update_interval": 20}),
    "qrdqn": (QRDQN, {"potential_shaping": True}),  # type: ignore[dict-item]
}


def algorithm(kind: type[DQN], model: Any, **settings: Any) -> DQN:
    defaults = {
        "policy_kwargs": {"model": model, "advantage_scale": 0.5}, "learning_starts": 60, "train_freq": 40,
        "batch_size": 20, "gradient_steps": 2, "target_update_interval": 70, "learning_rate": 1e-3, "buffer_size": 150,
        "seed": 0, "device": "cpu",
    }  # fmt: skip
    return kind("GPT2Policy", TextGenVecEnv(3, letter_task()), **{**defaults, **settings})


@pytest.mark.parametrize(("kind", "settings"), RUNS.values(), ids=RUNS)
def test_a_run_that_was_stopped_and_resumed_equals_one_that_was_not(
    tmp_path: Path, kind: type[DQN], settings: dict[str, Any]
) -> None:
    """Actions, weights of all networks, the optimiser's state, prompts, tokens, exploration and the replay."""
    folder = tmp_path / "model"
    language_model().save_pretrained(folder)
    whole = algorithm(kind, str(folder), **settings).learn(150)
    whole.save(tmp_path / "saved.zip")
    whole.save_replay_buffer(tmp_path / "replay.pkl")

    torch.manual_seed(99)
    resumed = kind.load(tmp_path / "saved.zip", env=TextGenVecEnv(3, letter_task()), device="cpu")
    resumed.load_replay_buffer(tmp_path / "replay.pkl")

    observation: Any = TextGenVecEnv(40, letter_task()).reset()
    for deterministic in (True, False):
        actions = []
        for each in (whole, resumed):
            torch.manual_seed(1)
            actions.append(each.predict(observation, deterministic=deterministic)[0].tolist())
        assert actions[0] == actions[1]
    for each in (whole, resumed):
        each.learn(200, reset_num_timesteps=False)
    assert resumed.num_timesteps == whole.num_timesteps
    assert resumed.n_episodes_started == whole.n_episodes_started
    ours, theirs = (each.policy.state_dict() for each in (whole, resumed))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not any(name.startswith("exploration") for name in ours)
    states = [each.policy.optimizer.state_dict()["state"] for each in (whole, resumed)]
    for key, state in states[0].items():
        assert all(torch.equal(state[name], states[1][key][name]) for name in state)
    replays: Any = [each.replay_buffer for each in (whole, resumed)]
    assert replays[0].token_ids.tolist() == replays[1].token_ids.tolist()


def test_greedy_text_needs_no_reference_after_loading(tmp_path: Path) -> None:
    model = algorithm(DQN, language_model()).learn(80)
    model.save(tmp_path / "saved")
    loaded = DQN.load(tmp_path / "saved", device="cpu")
    scores = [evaluate(each, letter_task(), 20).score for each in (model, loaded)]
    assert scores[0] == scores[1]
    message = "The reference model was given as an object, which is not saved; pass it again: load(…, reference=model)."
    loaded.set_env(TextGenVecEnv(3, letter_task()))
    with pytest.raises(ValueError, match=exactly(message)):
        loaded.learn(60)
    given = DQN.load(tmp_path / "saved", TextGenVecEnv(3, letter_task()), device="cpu", reference=language_model())
    given.learn(60)


def test_another_kind_of_replay_is_an_error(tmp_path: Path) -> None:
    model = algorithm(DQN, language_model())
    env = TextGenVecEnv(1, letter_task())
    plain = DictReplayBuffer(4, env.observation_space, env.action_space)  # type: ignore[arg-type]
    path = tmp_path / "replay.pkl"
    path.write_bytes(pickle.dumps(plain))
    message = f"{path} holds a DictReplayBuffer, not the replay of whole episodes that is needed here."
    with pytest.raises(ValueError, match=exactly(message)):
        model.load_replay_buffer(path)


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def empty(content: bytes) -> bytes:
    return b""


def foreign(content: bytes) -> bytes:
    return b"neither a pickle nor anything else"


def another_object(content: bytes) -> bytes:
    return pickle.dumps([1, 2])


@pytest.mark.parametrize("damage", [cut, empty, foreign, another_object])
def test_a_replay_that_is_cut_off_or_foreign_is_one_clear_error(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    model = algorithm(DQN, language_model()).learn(80)
    kept = model.replay_buffer
    path = tmp_path / "replay.pkl"
    model.save_replay_buffer(path)
    path.write_bytes(damage(path.read_bytes()))
    message = f"{path} is damaged or no replay at all; expected what DQN.save_replay_buffer writes."
    with pytest.raises(ValueError, match=exactly(message)):
        model.load_replay_buffer(path)
    assert model.replay_buffer is kept


def test_a_replay_that_cannot_be_saved_leaves_the_file_before_it(tmp_path: Path) -> None:
    model = algorithm(DQN, language_model()).learn(80)
    model.save_replay_buffer(tmp_path / "replay")
    before = (tmp_path / "replay.pkl").read_bytes()
    model.replay_buffer.unpicklable = (line for line in "")  # type: ignore[union-attr]
    with pytest.raises(TypeError):
        model.save_replay_buffer(tmp_path / "replay.pkl")
    assert (tmp_path / "replay.pkl").read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["replay.pkl"]


@pytest.mark.parametrize("kind", [DQN, DoubleDQN, QRDQN])
@pytest.mark.parametrize(("before", "after"), [(4, 3), (None, 3), (4, None), (3, 100)])
def test_settings_given_to_load_hold_for_a_replay_that_was_saved_with_others(
    tmp_path: Path, kind: type[DQN], before: int | None, after: int | None
) -> None:
    language_model().save_pretrained(tmp_path / "model")
    model = algorithm(kind, str(tmp_path / "model"), candidates=before, n_steps=1, gamma=1.0).learn(100)
    model.save(tmp_path / "saved.zip")
    model.save_replay_buffer(tmp_path / "replay.pkl")
    loaded = kind.load(
        tmp_path / "saved.zip", env=TextGenVecEnv(3, letter_task()), device="cpu",
        candidates=after, n_steps=3, gamma=0.5, buffer_size=60, seed=9,
    )  # fmt: skip
    loaded.load_replay_buffer(tmp_path / "replay.pkl")
    replay: Any = loaded.replay_buffer
    assert (replay.n_steps, replay.gamma, replay.buffer_size, replay.seed) == (3, 0.5, 60, 9)
    if after is None:
        assert replay.considered is None
    else:
        expected = probable_tokens(loaded.network.exploration.reference, replay, min(after, VOCAB_SIZE))
        assert torch.equal(replay.considered, expected)
    loaded.learn(60, reset_num_timesteps=False)
    assert replay.n_tokens <= 60


@pytest.mark.parametrize("kind", [DQN, DoubleDQN, QRDQN])
def test_the_best_token_is_predicted_without_the_reference(tmp_path: Path, kind: type[DQN]) -> None:
    algorithm(kind, language_model()).learn(40).save(tmp_path / "saved.zip")
    loaded = kind.load(tmp_path / "saved.zip", device="cpu")
    observation: Any = TextGenVecEnv(4, letter_task()).reset()
    best = loaded.predict(observation, deterministic=True)[0]
    assert best.tolist() == loaded.policy.predict(observation, deterministic=True)[0].tolist()
    with pytest.raises(ValueError, match=r"^The reference model was given as an object"):
        loaded.predict(observation)
