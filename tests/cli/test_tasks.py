"""`textgym tasks`, and `textgym train --task`."""

from pathlib import Path

import pytest

from tests.cli.conftest import run_command
from textgym.task_card import task_ids
from textgym.training.run_folder import RunFolder


def test_all_tasks_are_listed_and_one_is_described() -> None:
    printed = run_command("tasks").output
    assert [task_id for task_id in task_ids() if task_id not in printed] == []
    copy = next(line for line in printed.splitlines() if "TextGen-Copy-v0" in line)
    assert [cell.strip() for cell in copy.split("│")[3:7]] == ["0.10", "0.11", "1.00", "0.95"]
    assert max(map(len, printed.splitlines())) <= 100
    described = run_command("tasks", "TextGen-Copy-v0").output
    assert "Write the prompt again" in described
    assert "untrained model" in described
    refused = run_command("tasks", "TextGen-Cop-v0")
    assert refused.exit_code == 2
    assert "Did you mean 'TextGen-Copy-v0'?" in refused.output


def test_a_run_is_made_from_a_tasks_name_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--total-tokens", 300, "--tokens-per-rollout", 128, "--eval-completions", 13)
    result = run_command("train", "--task", "TextGen-Copy-v0", "--output", "run", *options)
    assert result.exit_code == 0, result.output
    folder = RunFolder(tmp_path / "run")
    settings = folder.read_settings({})
    assert (settings.task.name, settings.task.max_new_tokens) == ("TextGen-Copy-v0", 5)
    evaluation = folder.read_evaluation()
    assert evaluation["held_out"] is True
    assert evaluation["after"]["tokens"] >= 300
    resumed = run_command("train", "--resume", "run", "--total-tokens", 500)
    assert resumed.exit_code == 0, resumed.output
    assert folder.read_evaluation()["after"]["tokens"] >= 500


def test_a_task_may_be_named_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("settings.yaml").write_text("task: TextGen-Cop-v0\n", encoding="utf-8")
    refused = run_command("train", "--config", "settings.yaml")
    assert refused.exit_code == 2
    assert "There is no task 'TextGen-Cop-v0'" in refused.output
