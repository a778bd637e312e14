"""The package works where it is installed: the environments, the bundled model, and the command line."""

import math
import subprocess
import sys

import gymnasium as gym
import pytest

import textgym  # noqa: F401 (registers the ids)

pytestmark = pytest.mark.smoke


def test_a_random_agent_plays_an_episode_of_the_reference_task() -> None:
    env = gym.make("TextGen-v0", max_new_tokens=5)
    env.reset(seed=1)
    env.action_space.seed(1)
    is_over = False
    while not is_over:
        _, _, terminated, truncated, info = env.step(env.action_space.sample())
        is_over = terminated or truncated
    assert info["finish_reason"] in {"eos", "length"}
    assert 0.0 <= info["score"] <= 1.0


def test_the_vector_environment_has_the_rows_that_were_asked_for() -> None:
    envs = gym.make_vec("TextGen-v0", num_envs=3, max_new_tokens=5)
    observations, _ = envs.reset(seed=1)
    assert observations["input_ids"].shape[0] == 3


def test_the_bundled_language_model_finds_a_likely_next_word() -> None:
    from textgym.models import load_language_model, load_tokenizer

    tokenizer = load_tokenizer()
    logits = load_language_model()(**tokenizer("The director of this film has always", return_tensors="pt")).logits
    log_prob = logits[0, -1].log_softmax(-1)
    (been,) = tokenizer(" been")["input_ids"]
    assert log_prob[been] > -math.log(len(tokenizer)) + 3


@pytest.mark.parametrize("command", ["train", "generate", "play", "sft", "label", "feedback"])
def test_the_command_line_explains_every_command(command: str) -> None:
    program = "from textgym.cli import app; app()"
    arguments = [sys.executable, "-c", program, command, "--help"]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "Usage:" in result.stdout
