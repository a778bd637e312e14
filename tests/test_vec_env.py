"""The SB3 door: equal to DummyVecEnv over single environments, and what SB3's programs ask of a VecEnv."""

import pickle
from typing import Any

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3 import A2C
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor

from tests.fakes import EOS_TOKEN_ID, byte_tokenizer, core_state, count_a, fail, tokens
from textgym.agents.vec_env import TextGenVecEnv
from textgym.env import TextGenEnv
from textgym.reward_protocol import RewardError
from textgym.task import TextTask

TOKENS = np.array([*tokens("aabx."), EOS_TOKEN_ID])


def small(**arguments: Any) -> dict[str, Any]:
    """Arguments of a small task over bytes."""
    defaults = {
        "tokenizer": byte_tokenizer(),
        "prompts": ["one", "seven", "x", "yz"],
        "reward": count_a,
        "max_prompt_tokens": 6,
        "max_new_tokens": 5,
    }
    return {**defaults, **arguments}


def play(env: VecEnv, n_steps: int) -> list[Any]:
    generator = np.random.default_rng(1)
    env.seed(11)
    record: list[Any] = [env.reset()]
    for _ in range(n_steps):
        record.append(env.step(generator.choice(TOKENS, size=env.num_envs)))
    return record


@pytest.mark.parametrize("num_envs", [1, 3, 64])
def test_it_gives_what_dummy_vec_env_gives(num_envs: int) -> None:
    arguments = small(min_new_tokens=1, stop=["..", "ab"], banned_token_ids=tokens("x"))
    ours = TextGenVecEnv(num_envs, **arguments)
    theirs = DummyVecEnv([lambda: TextGenEnv(**arguments)] * num_envs)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    for step, (our_step, their_step) in enumerate(zip(play(ours, 25), play(theirs, 25), strict=True)):
        assert data_equivalence(_plain(our_step), _plain(their_step), exact=True), f"step {step}"
    assert ours.reset_infos == theirs.reset_infos


def _plain(step: Any) -> Any:
    """Turn DummyVecEnv's OrderedDict into a dict."""
    return (
        tuple(dict(part) if hasattr(part, "keys") else part for part in step) if isinstance(step, tuple) else dict(step)
    )


def test_a_seed_is_used_for_one_reset_only() -> None:
    env = TextGenVecEnv(2, **small(prompts=[str(number) for number in range(40)]))
    env.seed(3)
    first = env.reset()
    second = env.reset()
    env.seed(3)
    again = env.reset()
    assert data_equivalence(first, again, exact=True)
    assert not data_equivalence(first, second, exact=True)


def test_vec_monitor_records_episodes() -> None:
    env = VecMonitor(TextGenVecEnv(2, **small()), info_keywords=("score", "finish_reason"))
    env.reset()
    env.step(np.array(tokens("aa")))
    *_, infos = env.step(np.array([EOS_TOKEN_ID, *tokens("a")]))
    assert {key: infos[0]["episode"][key] for key in ("r", "l", "score", "finish_reason")} == {
        "r": 1.0,
        "l": 2,
        "score": 1.0,
        "finish_reason": "eos",
    }
    assert "episode" not in infos[1]


def test_sb3_contrib_finds_each_row_s_action_mask() -> None:
    env = TextGenVecEnv(2, min_new_tokens=1, **small())
    env.reset()
    assert is_masking_supported(env)
    masks = get_action_masks(env)
    assert masks.shape == (2, 257)
    assert not masks[:, EOS_TOKEN_ID].any()
    assert env.env_method("action_masks", indices=[1])[0].tolist() == masks[1].tolist()


@pytest.mark.parametrize("algorithm", [A2C, MaskablePPO])
def test_plain_sb3_trains_and_evaluates_on_it(algorithm: Any) -> None:
    env = VecMonitor(TextGenVecEnv(2, min_new_tokens=1, **small()))
    model = algorithm("MultiInputPolicy", env, n_steps=8, seed=0, device="cpu")
    model.learn(32)
    reward, _ = evaluate_policy(model, env, n_eval_episodes=3)
    assert 0 <= float(reward) <= 5  # type: ignore[arg-type]


def test_attributes_are_shared_by_all_rows() -> None:
    task = TextTask(**small())
    env = TextGenVecEnv(3, task)
    assert env.get_attr("task", indices=[0, 2]) == [task, task]
    assert env.get_attr("render_mode", indices=1) == [None]
    assert not env.has_attr("nothing")
    env.set_attr("render_mode", "ansi")
    assert env.render_mode == "ansi"
    with pytest.raises(ValueError, match=r"^render_mode can only be set for all rows at once, since they share it\.$"):
        env.set_attr("render_mode", None, indices=[0])
    with pytest.raises(ValueError, match=r"^task cannot be changed; make a new environment\.$"):
        env.set_attr("task", None)
    assert env.env_is_wrapped(Monitor) == [False] * 3


def test_rows_have_no_other_methods() -> None:
    env = TextGenVecEnv(2, **small())
    with pytest.raises(AttributeError, match=r"^rows have the methods \['action_masks', 'render'\], got 'step'\.$"):
        env.env_method("step", 0)
    with pytest.raises(TypeError, match=r"^render\(\) takes no arguments, got \['human'\]\.$"):
        env.env_method("render", "human")


def test_rendering(capsys: pytest.CaptureFixture[str]) -> None:
    env = TextGenVecEnv(1, render_mode="ansi", **small(prompts=["one"]))
    env.reset()
    assert env.env_method("render") == ["\x1b[36mone\x1b[0m"]
    human = TextGenVecEnv(1, render_mode="human", **small(prompts=["one"]))
    human.reset()
    human.step(np.array([EOS_TOKEN_ID]))
    human.render()
    assert capsys.readouterr().out == "\none\nscore 0.000, 1 tokens, ended by eos\n  reward/count_a  0.000\n"


def test_it_pickles_in_the_middle_of_episodes() -> None:
    env = TextGenVecEnv(3, **small())
    env.seed(0)
    env.reset()
    env.step(np.array(tokens("abc")))
    twin = pickle.loads(pickle.dumps(env))
    for actions in ([EOS_TOKEN_ID, 1, 2], [3, EOS_TOKEN_ID, 4]):
        assert data_equivalence(env.step(np.array(actions)), twin.step(np.array(actions)), exact=True)


@pytest.mark.parametrize(
    ("actions", "error", "message"),
    [
        (np.array([1]), ValueError, "Actions must have the shape (2,), got (1,)."),
        (np.array([1, 999]), ValueError, "Actions must lie between 0 and 256, got 999 at [1]."),
        (np.array([0.5, 1]), TypeError, "Actions must be integers, token ids, got float64: array([0.5, 1. ])."),
    ],
    ids=repr,
)
def test_wrong_actions_are_refused_and_change_nothing(actions: Any, error: type[Exception], message: str) -> None:
    env = TextGenVecEnv(2, **small())
    env.reset()
    before = core_state(env.core)
    with pytest.raises(error) as raised:
        env.step(actions)
    assert str(raised.value) == message
    assert core_state(env.core) == before


def test_a_failing_reward_changes_nothing() -> None:
    env = TextGenVecEnv(2, **small(reward=fail))
    env.reset()
    env.step(np.array(tokens("ab")))
    before = core_state(env.core)
    with pytest.raises(RewardError) as error:
        env.step(np.array([*tokens("a"), EOS_TOKEN_ID]))
    assert error.value.completion == "b"
    assert core_state(env.core) == before


def test_steps_come_in_their_order() -> None:
    env = TextGenVecEnv(2, **small())
    with pytest.raises(ResetNeeded, match=r"^There is no episode yet; call reset\(\) first\.$"):
        env.step(np.array([0, 0]))
    env.reset()
    with pytest.raises(
        ValueError, match=r"^There are no actions to take; call step_async\(actions\) before step_wait\(\)\.$"
    ):
        env.step_wait()


def test_there_are_no_reset_options() -> None:
    env = TextGenVecEnv(2, **small())
    env.set_options({"prompt": "x"})
    with pytest.raises(ValueError, match=r"^reset\(\) has no options, got \['prompt'\]\.$"):
        env.reset()
