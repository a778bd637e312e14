"""Every algorithm from the command line: it runs to its end, and goes on where it was stopped.

PPO and DQN have tests of their own. The others take three seconds each, so that only one of a kind is quick.
"""

import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.conftest import run_command
from tests.cli.test_train import assert_equal_runs, learned_rows
from textgym.training.algorithms import ALGORITHMS

SMALL = {
    "learning_rate": 1e-2,
    "tokens_per_rollout": 64,
    "batch_size": 32,
    "gradient_steps": 2,
    "learning_starts": 64,
    "target_update_interval": 64,
    "n_policy_iterations": 2,
    "mask_update_interval": 2,
    "cg_max_steps": 3,
}
QUICK = ("REINFORCE", "TRPO", "QRDQN")
OTHERS = [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)
    for name in ALGORITHMS
    if name not in ("PPO", "DQN")
]


def write_settings(name: str, workplace: Path) -> None:
    known = {declared.name for declared in fields(ALGORITHMS[name])}
    settings: dict[str, Any] = yaml.safe_load((workplace / "settings.yaml").read_text())
    settings["algorithm"] = {"name": name, **{key: value for key, value in SMALL.items() if key in known}}
    if ALGORITHMS[name].completions_per_prompt > 1:
        settings["task"]["completions_per_prompt"] = 2
    (workplace / "algorithm.yaml").write_text(yaml.safe_dump(settings))


@pytest.mark.parametrize("name", OTHERS)
def test_a_stopped_and_resumed_run_equals_one_that_never_stopped(name: str, workplace: Path) -> None:
    write_settings(name, workplace)
    whole = run_command("train", "--config", "algorithm.yaml", "--output", "whole")
    assert whole.exit_code == 0, whole.output
    (workplace / "interrupt").write_text(f"4 {int(signal.SIGTERM)}")
    stopped = run_command("train", "--config", "algorithm.yaml", "--output", "run")
    assert stopped.exit_code == 128 + signal.SIGTERM
    assert 0 < len(learned_rows(workplace / "run")) < len(learned_rows(workplace / "whole"))
    resumed = run_command("train", "--resume", "run")
    assert resumed.exit_code == 0, resumed.output
    assert_equal_runs(workplace / "run", workplace / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name not in ("PPO", "DQN")])
def test_a_killed_and_resumed_run_equals_one_that_was_never_killed(name: str, workplace: Path) -> None:
    """By SIGKILL in the middle of a rollout, when nothing can be saved any more."""
    write_settings(name, workplace)
    whole = run_command("train", "--config", "algorithm.yaml", "--output", "whole")
    assert whole.exit_code == 0, whole.output
    has_prefixes = "potential_shaping" in {declared.name for declared in fields(ALGORITHMS[name])}
    # Two calls in the first evaluation; then one a rollout, or with shaping one for ends and one for prefixes.
    (workplace / "interrupt").write_text(f"{7 if has_prefixes else 5} {int(signal.SIGKILL)}")
    command = [sys.executable, "-m", "textgym.cli", "train", "--config", "algorithm.yaml", "--output", "killed"]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    rows = learned_rows(workplace / "killed")
    assert 0 < len(rows) < len(learned_rows(workplace / "whole"))
    resumed = run_command("train", "--resume", "killed")
    assert resumed.exit_code == 0, resumed.output
    assert_equal_runs(workplace / "killed", workplace / "whole")
