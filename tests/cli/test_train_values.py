"""A run of a value-based algorithm from the command line: its replay is part of the checkpoint."""

import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import GenerationConfig

from tests.agents.tiny import letter_policy, letter_task
from tests.cli.conftest import run_command
from tests.cli.test_train import assert_equal_runs, learned_rows
from textgym.training.model_folder import save_language_model

SETTINGS = """
algorithm:
  name: DQN
  learning_rate: 1e-2
  tokens_per_rollout: 64
  batch_size: 32
  gradient_steps: 2
  learning_starts: 64
  target_update_interval: 64
  candidates: 50
total_tokens: 250
"""


def test_a_stopped_and_resumed_run_equals_one_that_never_stopped(workplace: Path) -> None:
    settings = {**yaml.safe_load((workplace / "settings.yaml").read_text()), **yaml.safe_load(SETTINGS)}
    (workplace / "values.yaml").write_text(yaml.safe_dump(settings))
    whole = run_command("train", "--config", "values.yaml", "--output", "whole")
    assert whole.exit_code == 0, whole.output
    with zipfile.ZipFile(workplace / "whole/model.zip") as archive:
        assert "replay_buffer.pkl" in archive.namelist()
    (workplace / "interrupt").write_text(f"4 {int(signal.SIGTERM)}")
    stopped = run_command("train", "--config", "values.yaml", "--output", "run")
    assert stopped.exit_code == 128 + signal.SIGTERM
    assert 0 < len(learned_rows(workplace / "run")) < len(learned_rows(workplace / "whole"))
    resumed = run_command("train", "--resume", "run")
    assert resumed.exit_code == 0, resumed.output
    assert_equal_runs(workplace / "run", workplace / "whole")
    written = run_command("generate", "run", "--prompt", "The sea")
    assert written.exit_code == 0, written.output
    again = run_command("generate", "run", "--prompt", "The sea", "--seed", 5)
    assert written.output == again.output, "it writes the best token, which is no matter of chance"


def test_a_killed_and_resumed_run_equals_one_that_was_never_killed(workplace: Path) -> None:
    """Killed in its fourth rollout: the replay is that of the checkpoint, and what was logged since is made again."""
    settings = {**yaml.safe_load((workplace / "settings.yaml").read_text()), **yaml.safe_load(SETTINGS)}
    settings["algorithm"] |= {"exploration": "reference", "n_steps": 2, "potential_shaping": False}
    (workplace / "values.yaml").write_text(yaml.safe_dump(settings))
    assert run_command("train", "--config", "values.yaml", "--output", "whole").exit_code == 0
    # Two calls in the first evaluation, and then one a rollout.
    (workplace / "interrupt").write_text(f"6 {int(signal.SIGKILL)}")
    command = [sys.executable, "-m", "textgym.cli", "train", "--config", "values.yaml", "--output", "killed"]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    rows = learned_rows(workplace / "killed")
    assert 2 <= len(rows) < len(learned_rows(workplace / "whole"))
    resumed = run_command("train", "--resume", "killed")
    assert resumed.exit_code == 0, resumed.output
    assert_equal_runs(workplace / "killed", workplace / "whole")


def test_a_checkpoint_without_its_replay_is_one_line(workplace: Path) -> None:
    settings = {**yaml.safe_load((workplace / "settings.yaml").read_text()), **yaml.safe_load(SETTINGS)}
    (workplace / "values.yaml").write_text(yaml.safe_dump({**settings, "total_tokens": 100}))
    assert run_command("train", "--config", "values.yaml", "--output", "run").exit_code == 0
    with zipfile.ZipFile(workplace / "run/model.zip") as archive:
        entries = {name: archive.read(name) for name in archive.namelist() if name != "replay_buffer.pkl"}
    with zipfile.ZipFile(workplace / "run/model.zip", "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    result = run_command("train", "--resume", "run", "--steps", 200)
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: run/model.zip is no checkpoint of a run: it has no replay_buffer.pkl. Expected the file that `textgym "
        "train` leaves in a run's folder.\n"
    )


@pytest.mark.parametrize("temperatures", [(0.7, None), (None, 0.7)])
def test_a_saved_model_writes_as_it_was_trained_to_whatever_it_was_before(
    tmp_path: Path, temperatures: tuple[float | None, ...]
) -> None:
    """A model that sampled, trained on by values, takes its best token, and the other way round."""
    task = letter_task()
    policy = letter_policy(task)
    policy.language_model.generation_config = GenerationConfig(do_sample=True, top_k=0, temperature=0.5)
    for temperature in temperatures:
        save_language_model(policy, task, tmp_path / "model", temperature)
        config = GenerationConfig.from_pretrained(tmp_path / "model")
        assert config.do_sample == (temperature is not None)
        if temperature is not None:
            assert (config.temperature, config.top_k) == (temperature, 0)
        model: Any = type(policy.language_model).from_pretrained(tmp_path / "model")
        written = model.generate(torch.tensor([[1, 2]]), max_new_tokens=3)
        assert written.shape[1] > 2
        policy.language_model.generation_config = config
