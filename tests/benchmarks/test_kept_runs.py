"""Finished runs kept in a file: they count as finished elsewhere, but for those of another model or other settings."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from textgym.benchmarks.learning import kept_runs
from textgym.benchmarks.learning.grid import Grid, GridRun
from textgym.benchmarks.learning.kept_runs import KeptRuns, check_bundled_model
from textgym.benchmarks.learning.records import find_records
from textgym.benchmarks.learning.state import as_yaml, state_of
from textgym.training.logs import write_columns
from textgym.training.run_folder import RunFolder, read_json_lines, write_json, write_json_lines
from textgym.training.settings_file import build_settings


def make_runs(folder: Path, task: str = "TextGen-v0", learning_rate: float = 1e-3) -> list[GridRun]:
    return Grid([task], [{"name": "PPO", "learning_rate": learning_rate}], [1, 2], total_tokens=300).runs(folder)


def finish(run: GridRun) -> None:
    """Write what a run's folder holds at its end, as far as it is kept."""
    folder = RunFolder(run.folder)
    folder.write_settings(build_settings(run.settings))
    run.config.write_text(as_yaml(run.settings), encoding="utf-8")
    write_json(folder.versions, [{"python": "3.11", "command": ["/home/somebody/textgym"]}])
    columns: dict[str, list[float | None]] = {
        "time/total_timesteps": [150, 300],
        "time/time_elapsed": [1, None],
        "rollout/score": [0.25, 0.5],
        "train/loss": [1, 2],
    }
    write_columns(folder.progress, columns)
    evaluation: dict[str, Any] = {"before": {"score": 0.1}, "after": {"score": 0.5, "tokens": 300, "kl": 2.0}}
    write_json(folder.evaluation, evaluation)


def test_a_finished_run_is_finished_elsewhere_and_says_the_same(tmp_path: Path) -> None:
    here, there = make_runs(tmp_path / "here"), make_runs(tmp_path / "there")
    finish(here[0])
    KeptRuns(tmp_path / "kept.jsonl").keep(here)
    assert "somebody" not in (tmp_path / "kept.jsonl").read_text(encoding="utf-8")
    assert KeptRuns(tmp_path / "kept.jsonl").restore(there) == 1
    assert [state_of(run) for run in there] == ["finished", "new"]
    (before,), (after,) = find_records([tmp_path / "here"]), find_records([tmp_path / "there"])
    assert after.score.tolist() == before.score.tolist() == [0.25, 0.5]
    assert after.seconds[0] == before.seconds[0] == 1
    assert (after.settings, after.evaluation, after.seed) == (before.settings, before.evaluation, before.seed)
    # What is there is left as it is.
    assert KeptRuns(tmp_path / "kept.jsonl").restore(there) == 0


def test_a_run_kept_again_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    here = make_runs(tmp_path / "here")
    finish(here[0])
    for _ in range(2):
        KeptRuns(tmp_path / "kept.jsonl").keep(here)
    assert len(KeptRuns(tmp_path / "kept.jsonl")) == 1


def test_runs_with_other_settings_are_not_put_back(tmp_path: Path) -> None:
    here = make_runs(tmp_path / "here")
    finish(here[0])
    kept = KeptRuns(tmp_path / "kept.jsonl")
    kept.keep(here)
    assert kept.restore(make_runs(tmp_path / "there", learning_rate=2e-3)) == 0


def test_runs_with_other_defaults_are_not_put_back(tmp_path: Path) -> None:
    here = make_runs(tmp_path / "here")
    for run in here:
        finish(run)
    KeptRuns(tmp_path / "kept.jsonl").keep(here)
    lines = read_json_lines(tmp_path / "kept.jsonl")
    lines[1]["config"]["algorithm"]["n_epochs"] += 1
    lines[0]["config"]["algorithm"]["known_no_more"] = 1
    write_json_lines(tmp_path / "kept.jsonl", lines)
    there = make_runs(tmp_path / "there")
    assert KeptRuns(tmp_path / "kept.jsonl").restore(there) == 1
    assert [state_of(run) for run in there] == ["finished", "new"]


@pytest.mark.parametrize(("task", "n_restored"), [("TextGen-v0", 0), ("TextGen-Copy-v0", 1)])
def test_runs_of_another_bundled_model_are_not_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, n_restored: int
) -> None:
    here = make_runs(tmp_path / "here", task)
    finish(here[0])
    kept = KeptRuns(tmp_path / "kept.jsonl")
    kept.keep(here)
    (line,) = (tmp_path / "kept.jsonl").read_text(encoding="utf-8").splitlines()
    assert (json.loads(line)["bundled_model"] is None) == bool(n_restored)
    monkeypatch.setattr(kept_runs, "bundled_digest", lambda: "another one's")
    assert kept.restore(make_runs(tmp_path / "there", task)) == n_restored


def test_a_folder_of_runs_belongs_to_one_bundled_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs"
    for _ in range(2):
        check_bundled_model(runs)
    monkeypatch.setattr(kept_runs, "bundled_digest", lambda: "another one's")
    message = f"The runs in {runs} were begun with another bundled model; give another --runs folder."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_bundled_model(runs)
