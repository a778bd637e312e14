"""Both environments against the contracts of Gymnasium and SB3, their episodes, pictures and errors."""

import copy
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.wrappers import RecordEpisodeStatistics
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3
from stable_baselines3.common.monitor import Monitor

import textgym
from tests.fakes import (
    EOS_TOKEN_ID,
    PayEachStep,
    RightAnswer,
    byte_tokenizer,
    core_state,
    count_a,
    fail,
    score_each_token,
    tokens,
)
from textgym.env import TextGenEnv
from textgym.models import BUNDLED_MODEL_FOLDER
from textgym.rendering import render_ansi
from textgym.reward_protocol import RewardError
from textgym.task import TextTask

IDS = ["TextGen-v0", "TextGenCompletion-v0"]
needs_bundled_model = pytest.mark.skipif(
    not (BUNDLED_MODEL_FOLDER / "tokenizer.json").is_file(), reason="the bundled tokenizer is not there"
)


def small(**arguments: Any) -> dict[str, Any]:
    """Arguments of a small environment over bytes."""
    defaults = {
        "tokenizer": byte_tokenizer(),
        "prompts": ["one", "seven"],
        "reward": count_a,
        "max_prompt_tokens": 6,
        "max_new_tokens": 5,
    }
    return {**defaults, **arguments}


CUSTOM = {
    "plain": {},
    "all rules": {
        "min_new_tokens": 2,
        "stop": ["..", "停"],
        "banned_token_ids": tokens("xyz"),
        "completions_per_prompt": 2,
        "prompt_order": "sequential",
    },
    "columns": {
        "prompts": [{"prompt": "1+1=", "answer": "2"}, {"prompt": "x", "answer": None}],
        "reward": RightAnswer(),
    },
    "token rewards": {"reward": score_each_token, "allowed_token_ids": [*tokens("abc"), EOS_TOKEN_ID]},
    "step rewards": {"reward": PayEachStep()},
    "cut prompts": {"max_prompt_tokens": 2, "max_new_tokens": 1, "truncate_prompts": "left"},
    "ansi": {"render_mode": "ansi"},
    "human": {"render_mode": "human"},
}


def action(env: Any, text: str, ends: bool = True) -> Any:
    """Return a text as the action of a completion environment."""
    ids = [*tokens(text), EOS_TOKEN_ID] if ends else tokens(text)
    return np.array([*ids, *[0] * (env.action_space.shape[0] - len(ids))])


@pytest.mark.parametrize("arguments", CUSTOM.values(), ids=CUSTOM.keys())
@pytest.mark.parametrize("env_id", IDS)
def test_both_checkers_find_nothing_to_warn_of(env_id: str, arguments: dict[str, Any]) -> None:
    env = gymnasium.make(env_id, **small(**arguments)).unwrapped
    check_env(env)
    check_env_for_sb3(env, skip_render_check=False)


@needs_bundled_model
@pytest.mark.smoke
@pytest.mark.parametrize("env_id", IDS)
def test_without_arguments_it_is_the_reference_task_and_both_checkers_pass(env_id: str) -> None:
    env = gymnasium.make(f"textgym:{env_id}").unwrapped
    check_env(env)
    check_env_for_sb3(env, skip_render_check=False)


def test_a_random_agent_plays_on_through_all_default_wrappers() -> None:
    env = gymnasium.make("TextGen-v0", **small())
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(50):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        assert not truncated
        if terminated:
            env.reset()


def test_importing_textgym_registers_the_ids_and_loads_neither_torch_nor_transformers() -> None:
    program = (
        "import sys, textgym, gymnasium\n"
        "assert {'TextGen-v0', 'TextGenCompletion-v0'} <= gymnasium.registry.keys()\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert textgym.__doc__


def test_an_episode_step_by_step() -> None:
    env = gymnasium.make("TextGen-v0", **small(prompts=["one"]))
    observation, info = env.reset(seed=0)
    assert info == {}
    assert observation["input_ids"][:3].tolist() == tokens("one")
    rewards = []
    for token in tokens("aba"):
        observation, reward, terminated, truncated, info = env.step(token)
        rewards.append(reward)
        assert (terminated, truncated, info) == (False, False, {})
    observation, reward, terminated, truncated, info = env.step(EOS_TOKEN_ID)
    assert [*rewards, reward] == [0.0, 0.0, 0.0, 2.0]
    assert (terminated, truncated) == (True, False)
    assert info == {
        "prompt": "one",
        "completion": "aba",
        "finish_reason": "eos",
        "n_tokens": 4,
        "score": 2.0,
        "reward/count_a": 2.0,
    }
    assert observation["input_ids"][:7].tolist() == [*tokens("oneaba"), EOS_TOKEN_ID]


def test_what_follows_the_end_of_a_completion_is_ignored() -> None:
    env = gymnasium.make("TextGenCompletion-v0", **small(prompts=["one"]))
    env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(action(env, "aa"))
    assert (reward, terminated, truncated) == (2.0, True, False)
    assert (info["completion"], info["finish_reason"], info["n_tokens"]) == ("aa", "eos", 3)
    assert observation["attention_mask"].sum() == 6


def test_the_completion_environment_gives_what_the_token_environment_gives() -> None:
    arguments = small(banned_token_ids=tokens("x"), min_new_tokens=2, stop=["zz"], reward=PayEachStep())
    by_token, by_completion = TextGenEnv(**arguments), gymnasium.make("TextGenCompletion-v0", **arguments).unwrapped
    generator = np.random.default_rng(0)
    alphabet = np.array([*tokens("axz"), EOS_TOKEN_ID])
    for episode in range(40):
        completion = generator.choice(alphabet, size=5)
        first, _ = by_token.reset(seed=episode)
        assert data_equivalence(first, by_completion.reset(seed=episode)[0], exact=True)
        rewards, forbidden = [], False
        for token in completion:
            last, reward, terminated, _, info = by_token.step(token)
            rewards.append(reward)
            forbidden |= "forbidden_action" in info
            if terminated:
                break
        if forbidden:
            info["forbidden_action"] = True
        expected = (last, sum(rewards), True, False, info)
        assert data_equivalence(expected, by_completion.step(completion), exact=True)


@pytest.mark.parametrize("env_id", IDS)
def test_runs_seeded_alike_are_equal_element_by_element(env_id: str) -> None:
    runs = []
    for _ in range(2):
        env = gymnasium.make(env_id, **small(prompts=[str(number) for number in range(30)]))
        env.action_space.seed(3)
        run = [env.reset(seed=3)]
        for _ in range(30):
            run.append(env.step(env.action_space.sample()))  # type: ignore[arg-type]
            if run[-1][2]:  # type: ignore[misc]
                run.append(env.reset())
        runs.append(run)
    assert data_equivalence(runs[0], runs[1], exact=True)


def test_action_masks_are_those_of_each_position_of_a_completion() -> None:
    arguments = small(banned_token_ids=tokens("x"), min_new_tokens=2)
    by_token, by_completion = TextGenEnv(**arguments), gymnasium.make("TextGenCompletion-v0", **arguments).unwrapped
    by_token.reset(seed=0)
    by_completion.reset(seed=0)
    masks = by_completion.get_wrapper_attr("action_masks")().reshape(5, 257)
    for row, token in zip(masks, tokens("aaaaa"), strict=True):
        assert by_token.action_masks().tolist() == row.tolist()
        by_token.step(token)
    assert masks.dtype == bool


@pytest.mark.parametrize("env_id", IDS)
def test_an_environment_pickles_and_copies_in_the_middle_of_an_episode(env_id: str) -> None:
    env = gymnasium.make(env_id, **small(stop=[".."]))
    env.reset(seed=2)
    if env_id == "TextGen-v0":
        env.step(tokens("a")[0])
    env.action_space.seed(0)
    action_taken = env.action_space.sample()
    twins = [pickle.loads(pickle.dumps(env)), copy.deepcopy(env)]
    expected = (env.step(action_taken), env.reset(), env.reset())
    for twin in twins:
        assert data_equivalence(expected, (twin.step(action_taken), twin.reset(), twin.reset()), exact=True)


def test_environments_may_share_a_task() -> None:
    task = TextTask(**small())
    env = gymnasium.make("TextGen-v0", task=task)
    assert env.get_wrapper_attr("task") is task
    env.reset()


def test_episode_statistics_are_recorded_by_gymnasium_and_by_sb3() -> None:
    env = RecordEpisodeStatistics(TextGenEnv(**small()))
    env.reset(seed=0)
    env.step(tokens("a")[0])
    *_, info = env.step(EOS_TOKEN_ID)
    assert (info["episode"]["r"], info["episode"]["l"]) == (1.0, 2)
    monitored = Monitor(TextGenEnv(**small()), info_keywords=("score", "reward/count_a"))
    monitored.reset(seed=0)
    *_, info = monitored.step(EOS_TOKEN_ID)
    assert {key: info["episode"][key] for key in ("r", "l", "score", "reward/count_a")} == {
        "r": 0.0,
        "l": 1,
        "score": 0.0,
        "reward/count_a": 0.0,
    }


def test_ansi_rendering_colours_prompt_and_completion_and_shows_the_terms_below() -> None:
    env = gymnasium.make("TextGen-v0", render_mode="ansi", **small(prompts=["one"]))
    env.reset()
    env.step(tokens("a")[0])
    assert env.render() == "\x1b[36mone\x1b[0m\x1b[1;32m a\x1b[0m"
    env.step(EOS_TOKEN_ID)
    assert env.render() == (
        "\x1b[36mone\x1b[0m\x1b[1;32m a\x1b[0m\nscore 1.000, 2 tokens, ended by eos\n  reward/count_a  1.000"
    )


def test_human_rendering_prints_each_token_as_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    env = gymnasium.make("TextGen-v0", render_mode="human", **small(prompts=["[b]:)"], max_new_tokens=9, stop="!"))
    env.reset()
    assert capsys.readouterr().out == "\n[b]:)"
    printed = []
    for token in tokens("aé!"):
        env.step(token)
        printed.append(capsys.readouterr().out)
    assert printed == [" a", "", "é", "\nscore 1.000, 4 tokens, ended by stop\n  reward/count_a  1.000\n"]
    assert env.render() is None


def test_human_rendering_writes_the_text_again_where_a_stop_string_cuts_it(capsys: pytest.CaptureFixture[str]) -> None:
    env = gymnasium.make("TextGen-v0", render_mode="human", **small(prompts=["one"], stop="ab"))
    env.reset()
    env.step(tokens("a")[0])
    capsys.readouterr()
    env.step(tokens("b")[0])
    assert capsys.readouterr().out == "\n\nscore 0.000, 2 tokens, ended by stop\n  reward/count_a  0.000\n"


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (257, ValueError, "The action must lie between 0 and 256, got 257."),
        (-1, ValueError, "The action must lie between 0 and 256, got -1."),
        (np.int64(300), ValueError, "The action must lie between 0 and 256, got 300."),
        (1.0, TypeError, "The action must be one integer, a token id, got 1.0."),
        (True, TypeError, "The action must be one integer, a token id, got True."),
        ("a", TypeError, "The action must be one integer, a token id, got 'a'."),
        (None, TypeError, "The action must be one integer, a token id, got None."),
        (np.array([1]), TypeError, "The action must be one integer, a token id, got array([1])."),
        (torch.tensor(0.5), TypeError, "The action must be one integer, a token id, got tensor(0.5000)."),
    ],
    ids=repr,
)
def test_a_wrong_action_is_refused_and_changes_nothing(wrong: Any, error: type[Exception], message: str) -> None:
    env = TextGenEnv(**small())
    env.reset(seed=0)
    env.step(tokens("a")[0])
    before = core_state(env.core)
    with pytest.raises(error) as raised:
        env.step(wrong)
    assert str(raised.value) == message
    assert core_state(env.core) == before


@pytest.mark.parametrize("right", [3, np.int64(3), np.array(3), torch.tensor(3)], ids=repr)
def test_an_action_may_come_as_any_kind_of_integer(right: Any) -> None:
    env = TextGenEnv(**small())
    env.reset(seed=0)
    env.step(right)
    assert env.core.contexts.n_generated.tolist() == [1]


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (5, ValueError, "Actions must have the shape (5,), got ()."),
        ([1, 2], ValueError, "Actions must have the shape (5,), got (2,)."),
        ([1, 2, 3, 4, 257], ValueError, "Actions must lie between 0 and 256, got 257 at [4]."),
        ([1, 2, 3, -4, 257], ValueError, "Actions must lie between 0 and 256, got -4 at [3]."),
        ([0.5] * 5, TypeError, "Actions must be integers, token ids, got float64: [0.5, 0.5, 0.5, 0.5, 0.5]."),
        ("aaaaa", TypeError, "Actions must be integers, token ids, got <U5: 'aaaaa'."),
        (torch.zeros(5), TypeError, "Actions must be integers, token ids, got a tensor of torch.float32."),
    ],
    ids=repr,
)
def test_a_wrong_completion_is_refused_and_changes_nothing(wrong: Any, error: type[Exception], message: str) -> None:
    env: Any = gymnasium.make("TextGenCompletion-v0", **small()).unwrapped
    env.reset(seed=0)
    before = core_state(env.core)
    with pytest.raises(error) as raised:
        env.step(wrong)
    assert str(raised.value) == message
    assert core_state(env.core) == before


@pytest.mark.parametrize("method", ["step", "render"])
def test_nothing_can_be_done_before_reset(method: str) -> None:
    env = TextGenEnv(**small(), render_mode="ansi")
    attempts: dict[str, Callable[[], object]] = {"step": lambda: env.step(0), "render": env.render}
    with pytest.raises(ResetNeeded) as error:
        attempts[method]()
    assert str(error.value) == "There is no episode yet; call reset() first."


def test_no_step_can_be_taken_after_the_end() -> None:
    env = TextGenEnv(**small())
    env.reset(seed=0)
    env.step(EOS_TOKEN_ID)
    before = core_state(env.core)
    with pytest.raises(ResetNeeded) as error:
        env.step(0)
    assert str(error.value) == "The episode has ended; call reset() before the next step()."
    assert core_state(env.core) == before


def test_a_failing_reward_shows_prompt_and_completion_and_changes_nothing() -> None:
    env: Any = gymnasium.make("TextGenCompletion-v0", **small(prompts=["one"], reward=fail)).unwrapped
    env.reset(seed=0)
    before = core_state(env.core)
    with pytest.raises(RewardError) as error:
        env.step(action(env, "ab"))
    assert (error.value.prompt, error.value.completion) == ("one", "ab")
    assert core_state(env.core) == before


def test_a_wrong_seed_or_option_is_refused_and_changes_nothing() -> None:
    env = TextGenEnv(**small())
    env.reset(seed=0)
    before = core_state(env.core)
    with pytest.raises(gymnasium.error.Error):
        env.reset(seed=-1)
    with pytest.raises(ValueError, match=r"^reset\(\) has no options, got \['prompt'\]\.$"):
        env.reset(options={"prompt": "two"})
    assert core_state(env.core) == before


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"promts": ["a"]}, TypeError, "There is no argument 'promts'; did you mean 'prompts'?"),
        (
            {"qqq": 1},
            TypeError,
            (
                "There is no argument 'qqq'; expected one of ['tokenizer', 'prompts', 'reward', 'max_prompt_tokens', "
                "'max_new_tokens', 'min_new_tokens', 'stop', 'banned_token_ids', 'allowed_token_ids', "
                "'completions_per_prompt', 'prompt_order', 'truncate_prompts']."
            ),
        ),
        ({"task": "x"}, TypeError, "task must be a TextTask, got 'x'."),
        ({"render_mode": "rgb"}, ValueError, "render_mode must be None, 'ansi' or 'human', got 'rgb'."),
    ],
    ids=repr,
)
def test_a_wrong_argument_is_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        TextGenEnv(**arguments)
    assert str(raised.value) == message


def test_a_task_comes_without_what_it_is_made_from() -> None:
    message = "Give either task or what it is made from, got both task and ['stop']."
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        TextGenEnv(TextTask(**small()), stop="x")


def test_rendering_passes_on_nothing_that_a_terminal_would_obey() -> None:
    text = render_ansi("p \x1b[2J", "c\x1bc\x9b\N{RIGHT-TO-LEFT OVERRIDE}\n\N{ZERO WIDTH JOINER}", None)
    assert text == "\x1b[36mp  [2J\x1b[0m\x1b[1;32m c c  \x1b[0m\n\x1b[1;32m\N{ZERO WIDTH JOINER}\x1b[0m"
