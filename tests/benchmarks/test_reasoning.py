"""reasoning-gym's generators as tasks: the generator's own scoring, questions held out, and what is refused."""

import pickle
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

from tests.agents.tiny import exactly
from textgym.benchmarks.tasks.reasoning import reasoning_gym_task, reasoning_prompts
from textgym.rewards import ReasoningAnswer
from textgym.rewards.reasoning import make_questions
from textgym.task_card import read_card
from textgym.training.settings_file import build_settings, read_settings, write_settings

reasoning_gym = pytest.importorskip("reasoning_gym", reason="needs the extra reasoning")
OPTIONS = {"min_terms": 2, "max_terms": 2, "max_digits": 2}


@pytest.fixture
def chain_sum(monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of sums of two numbers, which is forgotten after the test."""
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    monkeypatch.setattr(gymnasium, "registry", gymnasium.envs.registration.registry)
    return reasoning_gym_task("chain_sum", size=200, options=OPTIONS)


def test_a_generator_is_an_environment(chain_sum: str) -> None:
    env: Any = gymnasium.make(chain_sum).unwrapped
    check_env(env)
    assert gymnasium.make_vec(chain_sum, 2).single_observation_space == env.observation_space
    task = env.task
    for prompt in task.prompts[:20]:
        entry: Any = prompt.columns["entry"]
        assert prompt.text == entry["question"] + "\n"
        answer = task.tokenizer(entry["answer"])["input_ids"]
        wrong = task.tokenizer("1" + entry["answer"])["input_ids"]
        assert len(answer) < task.max_new_tokens
        right, no = task.score([task.finish(prompt, ids, "eos") for ids in (answer, wrong)])
        assert right.score == 1.0
        assert no.score < 1.0


def test_a_run_trains_on_some_questions_and_is_judged_by_others(chain_sum: str, tmp_path: Path) -> None:
    settings = build_settings({"task": {"name": chain_sum}})
    name, asked = next(iter(settings.task.prompts.items()))
    assert settings.eval_prompts == {name: {**asked, "split": "held_out"}}
    file = tmp_path / "config.yaml"
    file.write_text(write_settings(settings), encoding="utf-8")
    assert read_settings(file, {}) == settings
    assert read_card(chain_sum).threshold is None


def test_questions_are_the_same_each_time_and_none_is_in_both_splits() -> None:
    asked: Any = {"generator": "chain_sum", "size": 300, "options": {"max_terms": 2, "max_digits": 1}}
    train, again = (reasoning_prompts(split="train", **asked) for _ in range(2))
    held_out = reasoning_prompts(split="held_out", **asked)
    assert train == again
    assert len(held_out) == 100
    # There are few such sums, so that many come twice.
    assert 0 < len(train) < 300
    assert not {row["prompt"] for row in train} & {row["prompt"] for row in held_out}


@pytest.mark.parametrize("generator", ["syllogism", "caesar_cipher", "countdown", "family_relationships"])
def test_the_answers_of_other_generators_score_one(generator: str) -> None:
    reward = ReasoningAnswer(generator)
    questions = make_questions(generator, size=3, seed=0)
    entries = [questions[index] for index in range(3)]
    prompts, texts = [entry["question"] for entry in entries], [f" {entry['answer']} " for entry in entries]
    assert reward(prompts, texts, entry=entries) == [1.0] * 3
    assert max(reward(prompts, [""] * 3, entry=entries)) < 0.1
    again = pickle.loads(pickle.dumps(reward))
    assert again == reward
    assert again(prompts, texts, entry=entries) == [1.0] * 3


def test_an_id_stands_for_one_task(chain_sum: str) -> None:
    assert reasoning_gym_task("chain_sum", size=200, options=OPTIONS) == chain_sum
    message = f"The id {chain_sum!r} stands for another task; give this one an id of its own, by task_id=."
    with pytest.raises(ValueError, match=exactly(message)):
        reasoning_gym_task("chain_sum", size=100, options=OPTIONS)


def test_what_reasoning_gym_has_not_is_refused() -> None:
    message = "reasoning-gym has no generator 'chain_sums'. Did you mean 'chain_sum'?"
    with pytest.raises(ValueError, match=exactly(message)):
        ReasoningAnswer("chain_sums")
    with pytest.raises(ValueError, match=r"^reasoning-gym's chain_sum refuses the options {'digits': 3}: "):
        ReasoningAnswer("chain_sum", {"digits": 3})
    with pytest.raises(ValueError, match="min_terms must be positive"):
        ReasoningAnswer("chain_sum", {"min_terms": 0})
    with pytest.raises(ValueError, match="ReasoningAnswer needs the column 'entry'"):
        ReasoningAnswer("chain_sum")(["1 + 1 ="], ["2"])
