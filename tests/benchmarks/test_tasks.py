"""The benchmark's tasks: each keeps Gymnasium's and SB3's contracts, and its docstring says what is true."""

import inspect
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from tests.agents.tiny import exactly
from textgym.agents import PPO
from textgym.benchmarks.reference_scores import measure, random_score, write_scores
from textgym.benchmarks.tasks.splits import every_nth
from textgym.benchmarks.tasks.strings import CopyEnv, string_prompts
from textgym.env import TextGenEnv
from textgym.prompts import load_prompts
from textgym.registration import BENCHMARK_TASKS
from textgym.task import TextTask
from textgym.task_card import RANDOM, UNTRAINED, TaskCard, read_card, task_ids
from textgym.training.algorithms import A2CSettings, PPOSettings
from textgym.training.settings_file import build_settings

TINY = ("TextGen-Arithmetic-v0", "TextGen-Copy-v0", "TextGen-Reverse-v0")


def eval_task(card: TaskCard) -> TextTask:
    settings = build_settings({"task": {"name": card.id}})
    return TextTask(**{**card.arguments, "prompts": settings.eval_prompts, "prompt_order": "sequential"})


@pytest.mark.parametrize("task_id", BENCHMARK_TASKS)
def test_both_checkers_find_nothing_to_warn_of(task_id: str) -> None:
    env = gymnasium.make(task_id).unwrapped
    check_env(env)
    check_env_for_sb3(env, skip_render_check=False)


@pytest.mark.parametrize("task_id", BENCHMARK_TASKS)
def test_a_vector_environment_has_the_same_rules_and_other_arguments_go_before_them(task_id: str) -> None:
    env: Any = gymnasium.make(task_id, max_new_tokens=7).unwrapped
    many: Any = gymnasium.make_vec(task_id, 2, max_new_tokens=7)
    assert many.single_observation_space == env.observation_space
    assert many.task.prompts == env.task.prompts
    assert many.task.reward == env.task.reward
    assert many.task.max_new_tokens == 7


@pytest.mark.parametrize("task_id", task_ids())
def test_a_docstring_has_gymnasiums_headings_reference_scores_and_a_threshold(task_id: str) -> None:
    card = read_card(task_id)
    headings = ("Description", "Action Space", "Observation Space", "Reward", "Episode End", "Info", "Arguments")
    found = [line.removeprefix("## ") for line in card.description.splitlines() if line.startswith("## ")]
    assert found == [*headings, "Training", "Reference Scores", "Version History"]
    assert {RANDOM, UNTRAINED} < card.reference_scores.keys()
    best = max(card.reference_scores.values())
    assert card.threshold is not None
    assert max(card.reference_scores[RANDOM], card.reference_scores[UNTRAINED]) < card.threshold <= best


@pytest.mark.parametrize("task_id", task_ids())
def test_a_docstring_states_the_tokens_that_training_generates(task_id: str) -> None:
    stated = f"generates {build_settings({'task': {'name': task_id}}).total_tokens:,} tokens, unless told otherwise."
    assert stated in " ".join(read_card(task_id).description.split())


@pytest.mark.parametrize("task_id", task_ids())
def test_a_docstring_states_the_score_of_random_tokens_as_measured(task_id: str) -> None:
    card = read_card(task_id)
    assert card.reference_scores[RANDOM] == pytest.approx(random_score(eval_task(card), 256), abs=6e-4)


@pytest.mark.parametrize("task_id", TINY)
def test_a_docstring_states_the_score_of_the_untrained_model_as_measured(task_id: str) -> None:
    """Within 0.02: a probability's last bit may decide a token, and differs between processors."""
    measured = measure(task_id)[UNTRAINED]
    assert read_card(task_id).reference_scores[UNTRAINED] == pytest.approx(measured, abs=0.02)


@pytest.mark.parametrize("task_id", BENCHMARK_TASKS)
def test_no_held_out_prompt_is_trained_on(task_id: str) -> None:
    settings = build_settings({"task": {"name": task_id}})
    train, held_out = (load_prompts(source) for source in (settings.task.prompts, settings.eval_prompts))
    assert len(train) > len(held_out) >= 10
    assert not {text for text, _ in train} & {text for text, _ in held_out}
    assert len({text for text, _ in train}) == len(train)


def test_a_split_that_there_is_not_is_refused() -> None:
    split: Any = "test"
    for make in (lambda: string_prompts(split), lambda: every_nth("abc", split, 2)):
        with pytest.raises(ValueError, match=exactly('split must be "train" or "held_out", got \'test\'.')):
            make()


def score(task_id: str, completion: str) -> float:
    """Score a completion of a task's first prompt."""
    task = eval_task(read_card(task_id))
    token_ids = task.tokenizer(completion)["input_ids"]
    return task.score([task.finish(task.prompts[0], token_ids, "length")])[0].score


@pytest.mark.parametrize(
    ("task_id", "good", "bad"),
    [
        ("TextGen-Sentiment-v0", " is a joy, and I love all of it.", " is a bore, and I hate all of it."),
        ("TextGen-IncreasingNumbers-v0", " 4 5 6 7 8 9 10 11 12 13", " 4 5 6 5 4 3 2 1 0"),
        ("TextGen-Detox-v0", " thing that I would like to read twice, or even once more.",
         " stupid idiot that I would like you to go to hell and die."),
        ("TextGen-Detox-v0", " thing that I would like to read twice, or even once more.", ""),
    ],
)  # fmt: skip
def test_what_a_task_asks_for_scores_high_and_its_contrary_low(task_id: str, good: str, bad: str) -> None:
    assert score(task_id, good) > 0.6
    assert score(task_id, bad) <= 0.35


@pytest.mark.parametrize(
    ("task_id", "prompt", "answer"),
    [
        ("TextGen-Copy-v0", "abc>", "abc"),
        ("TextGen-Reverse-v0", "abc>", "cba"),
        ("TextGen-Arithmetic-v0", "5+7=", "12"),
    ],
)
def test_the_right_answer_scores_one(task_id: str, prompt: str, answer: str) -> None:
    env: Any = gymnasium.make(task_id)
    row = next(one for one in env.unwrapped.task.prompts if one.text == prompt)
    assert row.columns == {"answer": answer}
    task = env.unwrapped.task
    token_ids = [*task.tokenizer(answer)["input_ids"], task.eos_token_id]
    assert len(token_ids) <= task.max_new_tokens
    assert task.score([task.finish(row, token_ids, "eos")])[0].score == 1.0


def test_an_agent_trains_the_model_that_the_tasks_tokenizer_belongs_to() -> None:
    model = PPO("GPT2Policy", gymnasium.make("TextGen-Copy-v0"), device="cpu")
    assert model.policy.language_model.config.vocab_size == model.task.vocab_size == 6


def test_a_task_decides_the_defaults_of_a_run_and_what_is_given_goes_before_them() -> None:
    settings = build_settings({"task": {"name": "TextGen-Copy-v0", "max_new_tokens": 9}, "algorithm": {"n_epochs": 7}})
    assert settings.model == CopyEnv.defaults["tokenizer"]
    prompts = "textgym.benchmarks.tasks.strings:string_prompts"
    assert settings.task.prompts == {prompts: {"split": "train", "backwards": False}}
    assert settings.eval_prompts == {prompts: {"split": "held_out", "backwards": False}}
    assert settings.task.max_new_tokens == 9
    assert isinstance(settings.algorithm, PPOSettings)
    assert (settings.algorithm.n_epochs, settings.algorithm.learning_rate) == (7, 1e-3)


def test_what_a_task_says_of_other_algorithms_is_left_out() -> None:
    settings = build_settings({"task": {"name": "TextGen-Copy-v0"}, "algorithm": {"name": "A2C"}})
    assert settings.algorithm == A2CSettings(learning_rate=1e-3, tokens_per_rollout=512, kl_coef=0.0)
    with pytest.raises(ValueError, match=r"^A2C has no setting 'n_epochs'; it belongs to PPO"):
        build_settings({"task": {"name": "TextGen-Copy-v0"}, "algorithm": {"name": "A2C", "n_epochs": 3}})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("TextGen-Cpoy-v0", "There is no task 'TextGen-Cpoy-v0'; expected one of {ids}. Did you mean {near!r}?"),
        ("TextGenCompletion-v0", "'TextGenCompletion-v0' is no task to train on: expected an environment of tokens."),
        (3, "task.name must be text, got 3."),
    ],
)
def test_a_wrong_task_is_refused(name: object, message: str) -> None:
    expected = message.format(ids=", ".join(task_ids()), near="TextGen-Copy-v0")
    with pytest.raises(ValueError, match=exactly(expected)):
        build_settings({"task": {"name": name}})


class OtherEnv(TextGenEnv):
    """A task of somebody else's.

    ## Reference Scores
    | policy | score |
    |---|---:|
    | random tokens | 0.1 |

    Solved at 0.5.
    """


def test_anybodys_environment_is_a_task_once_it_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    entry_point: Any = OtherEnv
    spec = EnvSpec("Other-v0", entry_point=entry_point, kwargs={"max_new_tokens": 3})
    monkeypatch.setitem(gymnasium.registry, "Other-v0", spec)
    assert "Other-v0" in task_ids()
    card = read_card("Other-v0")
    assert (card.summary, card.threshold) == ("A task of somebody else's.", 0.5)
    assert build_settings({"task": {"name": "Other-v0"}}).task.max_new_tokens == 3


def test_measured_scores_go_into_the_docstring_of_their_class_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "tasks.py"
    table = "    | random tokens | 0.1 |\n    | untrained model | 0.2 |\n"
    source.write_text(f"class A(TextGenEnv):\n{table}class OtherEnv(TextGenEnv):\n{table}", encoding="utf-8")
    monkeypatch.setattr(inspect, "getfile", lambda _: str(source))
    card = TaskCard("Other-v0", OtherEnv, "", "", {}, None, {})
    write_scores(card, {RANDOM: -1e-9, UNTRAINED: 0.12345})
    written = "    | random tokens | 0.000 |\n    | untrained model | 0.123 |\n"
    assert source.read_text(encoding="utf-8") == f"class A(TextGenEnv):\n{table}class OtherEnv(TextGenEnv):\n{written}"
    with pytest.raises(ValueError, match="has no row"):
        write_scores(card, {"best": 1.0})


def test_the_readme_has_a_row_for_every_task() -> None:
    readme = Path(__file__).parents[2] / "README.md"
    if not readme.is_file():
        pytest.skip("there is no README beside the tests: they run against an installed package")
    text = readme.read_text(encoding="utf-8")
    for card in map(read_card, task_ids()):
        scores = [card.reference_scores[RANDOM], card.reference_scores[UNTRAINED], max(card.reference_scores.values())]
        numbers = " | ".join(f"{score:.2f}" for score in [*scores, card.threshold])
        assert f"| `{card.id}` | {card.summary.partition(':')[0].rstrip('.')} | {numbers} |" in text
