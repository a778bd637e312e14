"""One process at a time trains in a run's folder, and a folder that cannot be made is refused before loading."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import Result

from tests.cli.conftest import run_command
from textgym.training.run_folder import RunFolder

REFUSAL = "Error: The run in {} is being trained by another process; wait until that has ended, or stop it.\n"


def test_a_run_that_another_process_trains_is_not_resumed(finished_run: tuple[Path, Result], workplace: Path) -> None:
    shutil.copytree(finished_run[0], workplace / "run")
    before = {path: path.read_bytes() for path in (workplace / "run").rglob("*") if path.is_file()}
    with FileLock(workplace / "run/.lock"):
        refused = run_command("train", "--resume", "run", "--steps", 1000)
    assert (refused.exit_code, refused.output) == (2, REFUSAL.format("run"))
    assert {path: path.read_bytes() for path in (workplace / "run").rglob("*") if path.is_file()} == before


def test_a_run_that_another_process_has_just_begun_is_not_begun_again(workplace: Path) -> None:
    (workplace / "run").mkdir()
    with FileLock(workplace / "run/.lock"):
        refused = run_command("train", "--config", "settings.yaml", "--output", "run")
    assert (refused.exit_code, refused.output) == (2, REFUSAL.format("run"))


def test_a_process_that_is_killed_leaves_a_folder_that_may_be_trained_in(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from textgym.training.run_folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).held(): os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path / "run")], check=False)
    assert killed.returncode == -signal.SIGKILL
    run = RunFolder(tmp_path / "run")
    assert (run.path / ".lock").is_file()
    run.check_is_free()
    with run.held(), pytest.raises(ValueError, match="is being trained by another process"), run.held():
        pass


def test_folders_that_were_made_for_nothing_go_again(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "runs/demo").held():
        assert (tmp_path / "runs/demo/.lock").is_file()
    assert list(tmp_path.iterdir()) == []
    with RunFolder(tmp_path / "runs/demo").held():
        (tmp_path / "runs/demo/config.yaml").touch()
    assert {path.name for path in (tmp_path / "runs/demo").iterdir()} == {".lock", "config.yaml"}


def test_a_folder_that_cannot_be_made_is_one_line(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textgym.training.run.prepare", None)  # which loads the model
    result = run_command("train", "--config", "settings.yaml", "--output", "settings.yaml/run")
    assert (result.exit_code, result.stderr) == (
        2,
        "Error: The output folder settings.yaml/run cannot be made: Not a directory.\n",
    )
