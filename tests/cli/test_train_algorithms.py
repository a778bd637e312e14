"""Every algorithm from the command line: it runs to its end, and goes on where it was stopped.

PPO and DQN have tests of their own. The others take three seconds each, so that only one of a kind is quick.
"""

import signal
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


@pytest.mark.parametrize("name", OTHERS)
def test_a_stopped_and_resumed_run_equals_one_that_never_stopped(name: str, workplace: Path) -> None:
    known = {declared.name for declared in fields(ALGORITHMS[name])}
    settings: dict[str, Any] = yaml.safe_load((workplace / "settings.yaml").read_text())
    settings["algorithm"] = {"name": name, **{key: value for key, value in SMALL.items() if key in known}}
    if ALGORITHMS[name].completions_per_prompt > 1:
        settings["task"]["completions_per_prompt"] = 2
    (workplace / "algorithm.yaml").write_text(yaml.safe_dump(settings))
    whole = run_command("train", "--config", "algorithm.yaml", "--output", "whole")
    assert whole.exit_code == 0, whole.output
    (workplace / "interrupt").write_text(f"4 {int(signal.SIGTERM)}")
    stopped = run_command("train", "--config", "algorithm.yaml", "--output", "run")
    assert stopped.exit_code == 128 + signal.SIGTERM
    assert 0 < len(learned_rows(workplace / "run")) < len(learned_rows(workplace / "whole"))
    resumed = run_command("train", "--resume", "run")
    assert resumed.exit_code == 0, resumed.output
    assert_equal_runs(workplace / "run", workplace / "whole")
