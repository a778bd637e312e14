"""A task that a tiny model learns something of, and the command line in this process."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from textgym.cli import app

REWARDS = '''
"""Rewards of the person who runs the command."""

import os
import signal
from pathlib import Path


def few_letters(prompts, completions, **columns):
    """Pay for a short text, between 0 and 1; before that send this process a signal, or fail, when a file says so."""
    _count_down("interrupt", lambda number: os.kill(os.getpid(), number))
    _count_down("fail", _fail)
    return [1 - len(completion) / 16 for completion in completions]


def _count_down(name, act):
    """Act once: a file holds the number of the call to do it at, and the argument."""
    path = Path(name)
    if path.is_file():
        calls, number = map(int, path.read_text().split())
        path.write_text(f"{calls - 1} {number}")
        if calls == 1:
            path.unlink()
            act(number)


def _fail(number):
    raise KeyError("no judgement today")
'''

SETTINGS = """
task:
  prompts: [{prompt: The sea, topic: water}, {prompt: A lake, topic: water}, {prompt: Hills, topic: land}]
  reward: my_rewards:few_letters
  max_new_tokens: 16
algorithm:
  name: PPO
  learning_rate: 1e-2
  learning_rate_end: 1
  kl_coef: 0.02
  clip_range: 0.2
  potential_shaping: false
  self_imitation: 0
  tokens_per_rollout: 64
  batch_size: 32
total_tokens: 250
checkpoint_seconds: 0
evaluation:
  eval_completions: 12
  sample_every: 100
  table_rows: 2
  judge: {length_window: {minimum: 2, maximum: 8, unit: characters}}
"""


def make_workplace(folder: Path, model: Path) -> None:
    """Put a user's own rewards and settings into a folder."""
    (folder / "my_rewards.py").write_text(REWARDS, encoding="utf-8")
    (folder / "settings.yaml").write_text(f"model: {model}\n{SETTINGS}", encoding="utf-8")


def run_command(*arguments: object, typed: str | None = None) -> Result:
    """Run `textgym` in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=typed, catch_exceptions=False)


@pytest.fixture
def workplace(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a user's rewards and settings."""
    make_workplace(tmp_path, tiny_model)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Path, Result]:
    """The folder of a run that was never stopped, and what it printed. Not to be changed."""
    folder = tmp_path_factory.mktemp("workplace")
    make_workplace(folder, tiny_model)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        result = run_command("train", "--config", "settings.yaml", "--output", "run")
    assert result.exit_code == 0, result.output
    return folder / "run", result
