"""What a user may pass as environment: down to the task where wrappers only watch, and an error where they do more."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TransformReward
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor, load_results
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecMonitor, VecNormalize

import textgym  # noqa: F401  (registers the ids)
from tests.agents.tiny import PROMPTS, exactly, language_model, letter_task, letter_tokenizer, share_of_a
from textgym.agents import DQN, GRPO, PPO, QRDQN, GPT2Policy, TextGenVecEnv
from textgym.agents.environments import as_text_environment
from textgym.env import TextGenEnv
from textgym.rewards import Keywords, LengthWindow
from textgym.vector import TextGenVectorEnv

ARGUMENTS: dict[str, Any] = {
    "tokenizer": letter_tokenizer(),
    "prompts": list(PROMPTS),
    "reward": share_of_a,
    "max_prompt_tokens": 5,
    "max_new_tokens": 8,
}


def algorithm(env: Any, **settings: Any) -> PPO:
    defaults = {"n_steps": 30, "n_epochs": 1, "seed": 3, "device": "cpu", "reference": None}
    return PPO("GPT2Policy", env, **{**defaults, "policy_kwargs": {"model": language_model()}, **settings})


# Stable-Baselines3 makes an id with this render mode first, of which Gymnasium warns, and then without.
SB3_DEFAULT = r"ignore:.*render_mode='rgb_array' that is not in the possible render_modes"
WRAPPED_TWICE = "ignore:The environment is already wrapped with a `Monitor` wrapper"

ONE_ROW: dict[str, Callable[[], Any]] = {
    "Env": lambda: TextGenEnv(letter_task()),
    "gym.make": lambda: gym.make("TextGen-v0", **ARGUMENTS),
    "gym.make without checker": lambda: gym.make("TextGen-v0", disable_env_checker=True, **ARGUMENTS),
    "Monitor": lambda: Monitor(gym.make("TextGen-v0", **ARGUMENTS)),
    "Monitor inside": lambda: OrderEnforcing(PassiveEnvChecker(Monitor(TextGenEnv(letter_task())))),
    "VectorEnv": lambda: TextGenVectorEnv(1, letter_task()),
    "VecEnv": lambda: TextGenVecEnv(1, letter_task()),
    "VecMonitor": lambda: VecMonitor(TextGenVecEnv(1, letter_task())),
    "DummyVecEnv": lambda: DummyVecEnv([lambda: TextGenEnv(letter_task())]),
    "make_vec_env": lambda: make_vec_env("TextGen-v0", env_kwargs=ARGUMENTS),
}
THREE_ROWS: dict[str, Callable[[], Any]] = {
    "gym.make_vec": lambda: gym.make_vec("TextGen-v0", num_envs=3, **ARGUMENTS),
    "VectorEnv": lambda: TextGenVectorEnv(3, letter_task()),
    "VecEnv": lambda: TextGenVecEnv(3, letter_task()),
    "VecMonitor twice": lambda: VecMonitor(VecMonitor(TextGenVecEnv(3, letter_task()))),
    "make_vec_env": lambda: make_vec_env("TextGen-v0", n_envs=3, env_kwargs=ARGUMENTS),
}


@pytest.mark.filterwarnings(WRAPPED_TWICE)
@pytest.mark.filterwarnings(SB3_DEFAULT)
@pytest.mark.parametrize(("doors", "num_envs"), [(ONE_ROW, 1), (THREE_ROWS, 3)], ids=["one_row", "three_rows"])
def test_every_kind_of_environment_trains_alike(doors: dict[str, Callable[[], Any]], num_envs: int) -> None:
    """Same seed, same rollout, same update; the prompts and tokens do not depend on the door."""
    weights = []
    for name, make in doors.items():
        model = algorithm(make())
        assert model.n_envs == num_envs, name
        assert model.task.max_new_tokens == 8
        model.learn(60)
        weights.append((name, model.policy.state_dict()))
    first = weights[0][1]
    for name, state in weights[1:]:
        assert all(np.array_equal(first[key], state[key]) for key in first), name


def make_letter_env(render_mode: str | None = None) -> TextGenEnv:
    return TextGenEnv(letter_task(), render_mode=render_mode)


@pytest.mark.filterwarnings(SB3_DEFAULT)
def test_an_id_is_made_by_ours_and_by_plain_sb3() -> None:
    gym.register("LetterGen-v0", entry_point="tests.agents.test_environments:make_letter_env")
    try:
        assert algorithm("LetterGen-v0").task.max_new_tokens == 8
        assert make_vec_env("LetterGen-v0", n_envs=2).num_envs == 2
        plain = stable_baselines3.PPO(GPT2Policy, "LetterGen-v0", policy_kwargs={"model": language_model()})
        assert isinstance(plain.policy, GPT2Policy)
    finally:
        del gym.registry["LetterGen-v0"]


class PolishedMonitor(Monitor):
    """A monitor that does more than watch."""

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, 2 * float(reward), terminated, truncated, info


class PolishedVecMonitor(VecMonitor):
    """Likewise, for a VecEnv."""


ACTIVE: dict[str, Callable[[], Any]] = {
    "TransformReward": lambda: TransformReward(TextGenEnv(letter_task()), lambda reward: 2 * float(reward)),
    "TimeLimit": lambda: gym.make("TextGen-v0", max_episode_steps=3, **ARGUMENTS),
    "PolishedMonitor": lambda: PolishedMonitor(TextGenEnv(letter_task())),
    "VecNormalize": lambda: VecNormalize(TextGenVecEnv(2, letter_task()), norm_obs=False),
    "VecFrameStack": lambda: VecFrameStack(TextGenVecEnv(2, letter_task()), 2),
    "PolishedVecMonitor": lambda: PolishedVecMonitor(TextGenVecEnv(2, letter_task())),
    "RecordEpisodeStatistics": lambda: RecordEpisodeStatistics(TextGenVectorEnv(2, letter_task())),
}


@pytest.mark.parametrize(("name", "make"), ACTIVE.items(), ids=ACTIVE)
def test_a_wrapper_that_would_be_bypassed_is_named(name: str, make: Callable[[], Any]) -> None:
    message = (
        f"The wrapper {name} would be bypassed, because whole episodes are generated from the task below it. Change "
        "the task instead (reward, prompts, banned tokens, budgets), or train with plain stable_baselines3 and "
        "policy=GPT2Policy, which steps through every wrapper."
    )
    with pytest.raises(ValueError, match=exactly(message)):
        algorithm(make())


def test_a_wrapper_is_found_below_passive_ones_and_in_any_row() -> None:
    hidden = Monitor(TransformReward(TextGenEnv(letter_task()), lambda reward: 2 * float(reward)))
    for env in (hidden, DummyVecEnv([lambda: TextGenEnv(letter_task()), lambda: hidden])):
        with pytest.raises(ValueError, match="The wrapper TransformReward would be bypassed"):
            algorithm(env)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: gym.make("CartPole-v1"), "CartPoleEnv"),
        (lambda: 3, "int"),
        (lambda: gym.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync"), "SyncVectorEnv"),
    ],
)
def test_other_environments_are_named(make: Callable[[], Any], name: str) -> None:
    message = (
        "Expected 'TextGen-v0' or 'TextGenCompletion-v0', or an environment made from one by gym.make, gym.make_vec "
        f"(without vectorization_mode) or TextGenVecEnv, got {name}. Train other environments with plain "
        "stable_baselines3."
    )
    with pytest.raises(ValueError, match=exactly(message)):
        as_text_environment(make())


@pytest.mark.parametrize("kind", [PPO, GRPO, DQN, QRDQN])
def test_a_new_algorithm_needs_an_environment(kind: Any) -> None:
    name = kind.__name__
    message = f"{name} needs an environment, got None; only {name}.load needs none, to predict."
    with pytest.raises(ValueError, match=exactly(message)):
        kind(next(iter(kind.policy_aliases)), None)


DIFFERENCES: dict[str, dict[str, Any]] = {
    "prompts": {"prompts": ["a", "bc"]},
    "max_new_tokens": {"max_new_tokens": 8, "min_new_tokens": 0, "max_prompt_tokens": 5},
    "allowed tokens": {"banned_token_ids": [3]},
    "reward": {"reward": LengthWindow(1, 3)},
    "min_new_tokens, stop, prompt_order": {"min_new_tokens": 1, "stop": "a", "prompt_order": "sequential"},
}


@pytest.mark.parametrize(("difference", "changes"), DIFFERENCES.items(), ids=DIFFERENCES)
def test_rows_that_play_different_tasks_are_refused(difference: str, changes: dict[str, Any]) -> None:
    """Plain Stable-Baselines3 would play each row's own; here one task is played in all."""
    first = {**ARGUMENTS, "max_new_tokens": 7, "max_prompt_tokens": 6} if difference == "max_new_tokens" else ARGUMENTS
    rows = [first, first, {**ARGUMENTS, **changes}]
    env = DummyVecEnv([lambda row=row: gym.make("TextGen-v0", **row) for row in rows])  # type: ignore[misc]
    if difference == "max_new_tokens":
        difference = "max_prompt_tokens, max_new_tokens"
    message = (
        f"The rows of a VecEnv must play one task, but row 2 differs from row 0 in {difference}. Make all rows from "
        "one task, TextGenVecEnv(n, task); prompts may be mixed in it."
    )
    with pytest.raises(ValueError, match=exactly(message)):
        as_text_environment(env)


def test_rows_whose_tasks_were_made_alike_are_one_task() -> None:
    def make() -> Any:
        reward = 2 * LengthWindow(1, 3) + Keywords(["a"])
        return gym.make("TextGen-v0", **{**ARGUMENTS, "tokenizer": letter_tokenizer(), "reward": reward})

    assert as_text_environment(DummyVecEnv([make, make])).num_envs == 2


@pytest.mark.filterwarnings(WRAPPED_TWICE)
@pytest.mark.filterwarnings(SB3_DEFAULT)
def test_each_episode_is_written_to_one_file_of_each_layer_of_monitors(tmp_path: Path) -> None:
    """As Stable-Baselines3's Monitors write them, with the keywords that they were asked to write."""
    env = VecMonitor(
        make_vec_env(
            "TextGen-v0",
            n_envs=3,
            env_kwargs=ARGUMENTS,
            monitor_dir=str(tmp_path / "rows"),
            monitor_kwargs={"info_keywords": ("finish_reason",)},
        ),
        str(tmp_path / "all"),
        info_keywords=("completion", "score"),
    )
    model = algorithm(env)
    model.learn(90)
    env.close()
    buffer = model.rollout_buffer
    rows, whole = load_results(str(tmp_path / "rows")), load_results(str(tmp_path))
    assert len(rows) == len(whole) == model.n_episodes_started
    assert len(list((tmp_path / "rows").iterdir())) == 3
    assert set(rows["finish_reason"]) == {"eos", "length"}
    assert rows["l"].sum() == whole["l"].sum() == model.num_timesteps
    assert whole["l"].tolist()[-len(buffer.lengths) :] == buffer.lengths.tolist()
    for _, row in whole.iterrows():
        text = row["completion"] if isinstance(row["completion"], str) else ""  # pandas reads "" as NaN
        assert row["score"] == pytest.approx(text.count("a") + 0.1 * len(text))
        assert row["r"] == pytest.approx(row["score"], abs=1e-5)


def test_the_users_environment_stays_the_users() -> None:
    """`get_env` gives an environment that can be stepped, and training leaves its episode alone."""
    env = gym.make("TextGen-v0", **ARGUMENTS)
    model = algorithm(env)
    model.learn(30)
    vec_env = model.get_env()
    assert vec_env is not None
    assert vec_env.env_is_wrapped(Monitor) == [True]
    observation = vec_env.reset()
    actions, _ = model.predict(observation)  # type: ignore[arg-type]
    _, _, dones, _ = vec_env.step(actions)
    assert dones.shape == (1,)


def test_monitors_know_the_episodes_that_were_played() -> None:
    env = DummyVecEnv([lambda: Monitor(TextGenEnv(letter_task())) for _ in range(2)])
    model = PPO("GPT2Policy", env, n_steps=20, policy_kwargs={"model": language_model()}, device="cpu").learn(30)
    rewards, lengths = env.env_method("get_episode_rewards"), env.env_method("get_episode_lengths")
    assert sum(map(len, rewards)) == model.n_episodes_started
    assert sum(map(sum, lengths)) == sum(env.env_method("get_total_steps")) == model.num_timesteps
    assert len(env.env_method("get_episode_times")[0]) == len(rewards[0])
