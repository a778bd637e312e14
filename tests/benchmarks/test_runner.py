"""`textgym bench`: one call at a time in a folder, places that cannot be written to, tokens, tasks of one's own."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import pytest
from filelock import FileLock

from tests.agents.tiny import exactly
from tests.cli.conftest import run_command
from textgym.benchmarks.learning.grid import Grid, GridRun
from textgym.benchmarks.learning.pool import Failure, RunPool
from textgym.benchmarks.learning.state import command_of, excess_tokens
from textgym.folder_lock import held_output
from textgym.task_card import read_card

COPY = "TextGen-Copy-v0"
MODULE = """
import gymnasium
from textgym.benchmarks.tasks.strings import CopyEnv


class MineEnv(CopyEnv):
    \"\"\"Write it once more.\"\"\"


gymnasium.register("Mine-v0", entry_point=MineEnv)
"""


def a_run(folder: Path, tokens: int = 100) -> GridRun:
    return Grid([COPY], ["PPO"], [1], tokens).runs(folder)[0]


def pretend_finished(run: GridRun) -> None:
    command_of(run)
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "config.yaml").write_text(f"total_tokens: {run.total_tokens}\n", encoding="utf-8")
    evaluation = {"after": {"tokens": run.total_tokens}}
    (run.folder / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_call_in_one_folder_is_refused_and_touches_nothing(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    run.folder.mkdir(parents=True)
    (run.folder / "config.yaml.partial").write_text("seed", encoding="utf-8")
    run.log.write_text("loading\n", encoding="utf-8")
    with FileLock(tmp_path / ".lock"):
        before = contents(tmp_path)
        refused = run_command("bench", "--tasks", COPY, "--seeds", 1, "--tokens", 100, "--output", tmp_path)
        assert contents(tmp_path) == before
    message = f"Another textgym bench is at work in {tmp_path}; wait until that has ended, or give another --output."
    assert (refused.exit_code, refused.output) == (2, f"Error: {message}\n")


def test_a_training_that_has_outlived_its_benchmark_keeps_its_folder(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    run.folder.mkdir(parents=True)
    (run.folder / "config.yaml.partial").write_text("seed", encoding="utf-8")
    with FileLock(run.folder / ".lock"):
        assert command_of(run)[:2] == ["train", "--config"]
        assert (run.folder / "config.yaml.partial").is_file()
    command_of(run)
    assert not run.folder.exists()


def test_one_process_may_call_one_after_another(tmp_path: Path) -> None:
    pretend_finished(a_run(tmp_path))
    for _ in range(2):
        result = run_command("bench", "--tasks", COPY, "--seeds", 1, "--tokens", 100, "--output", tmp_path)
        assert result.exit_code == 0, result.output
        assert "0 runs to do, 1 finished before; 1 at a time, " in result.output


def test_an_output_that_is_a_file_or_below_one_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for output, message in (
        (file, f"The output {file} is a file; name a folder."),
        (file / "x", f"The output folder {file / 'x'} cannot be made or written to: Not a directory."),
    ):
        for command in (("bench", "--tasks", COPY), ("tune", "--task", COPY)):
            refused = run_command(*command, "--output", output)
            assert (refused.exit_code, refused.stderr) == (2, f"Error: {message}\n")


def test_a_folder_that_may_not_be_written_to_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "it")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    message = f"The output folder {tmp_path} cannot be made or written to: Permission denied."
    with pytest.raises(ValueError, match=exactly(message)), held_output(tmp_path, ""):
        pass


def test_runs_that_were_trained_with_more_tokens_are_named(tmp_path: Path) -> None:
    pretend_finished(a_run(tmp_path, 2000))
    assert excess_tokens(a_run(tmp_path, 1000)) == 2000
    assert excess_tokens(a_run(tmp_path, 2000)) == 0
    assert excess_tokens(a_run(tmp_path, 3000)) == 0
    options = ("--tasks", COPY, "--seeds", 1, "--output", tmp_path)
    fewer = run_command("bench", *options, "--tokens", 1000)
    assert fewer.exit_code == 0, fewer.output
    kept = "Trained with more tokens before, and kept as they are: TextGen-Copy-v0 PPO seed 1 (2,000)"
    assert kept in fewer.output.splitlines()
    assert "more tokens" not in run_command("bench", *options, "--tokens", 2000).output


def test_one_thing_is_no_plural(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunPool, "run", lambda *_: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    printed = run_command("bench", "--tasks", COPY, "--seeds", 1, "--output", tmp_path).output
    assert printed.startswith("1 run to do, 0 finished before; 1 at a time, 1 thread each\n")


@pytest.mark.skipif(sys.platform == "win32", reason="the interpreter is a shell script")
def test_a_run_that_goes_on_from_its_checkpoint_is_counted_and_called_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(tmp_path / "bench", 300)
    assert run_command(*command_of(run)).exit_code == 0
    tokens = json.loads((run.folder / "evaluation.json").read_text(encoding="utf-8"))["after"]["tokens"]
    # What the runs' processes would do is tested elsewhere; these end at once.
    interpreter = tmp_path / "interpreter"
    interpreter.write_text("#!/bin/sh\n", encoding="utf-8")
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    options = ("--tasks", COPY, "--seeds", 2, "--tokens", 2000, "--jobs", 1, "--output", tmp_path / "bench")
    lines = run_command("bench", *options).output.splitlines()
    assert lines[0].startswith("2 runs to do, 1 of them resumed, 0 finished before; 1 at a time, ")
    assert [line for line in lines if line.startswith(("begun", "resumed"))] == [
        f"resumed  TextGen-Copy-v0 PPO seed 1 at {tokens:,} tokens", "begun    TextGen-Copy-v0 PPO seed 2",
    ]  # fmt: skip


def test_square_brackets_in_a_reason_are_printed_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = Failure(a_run(tmp_path), 1, "no [a] or [/b]")
    monkeypatch.setattr(RunPool, "run", lambda pool, _: pool.failures.append(failure))
    result = run_command("bench", "--tasks", COPY, "--seeds", 1, "--output", tmp_path)
    assert result.exit_code == 1
    assert "TextGen-Copy-v0 PPO seed 1 failed: no [a] or [/b] (see " in result.output
    assert "1 of 1 run failed; the same command tries again." in result.output


@pytest.fixture
def own_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A task in a module in the current folder."""
    monkeypatch.chdir(tmp_path)
    name = f"tasks_of_mine_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE, encoding="utf-8")
    yield f"{name}:Mine-v0"
    gymnasium.registry.pop("Mine-v0", None)


def test_a_task_of_ones_own_is_found_by_every_command(own_task: str) -> None:
    assert "Write it once more." in run_command("tasks", own_task).output
    for command in (("bench", "--tasks", own_task, "--algos", "PPQ"), ("tune", "--task", own_task, "--algo", "PPQ")):
        refused = run_command(*command)
        assert refused.exit_code == 2
        assert "There is no algorithm 'PPQ'" in refused.stderr


@pytest.mark.slow
def test_a_task_of_ones_own_is_benchmarked_and_reported(own_task: str) -> None:
    result = run_command("bench", "--tasks", own_task, "--seeds", 1, "--tokens", 300, "--output", "bench")
    assert result.exit_code == 0, result.output
    reported = run_command("report", "bench")
    assert reported.exit_code == 0, reported.output
    assert f"| {own_task} | PPO | 1 |" in reported.output


MISSING = (
    "Task 'no_such_tasks:My-v0': there is no module 'no_such_tasks'. Install it, or run from the folder that it is in."
)


@pytest.mark.parametrize(
    "command", [("bench", "--tasks"), ("tune", "--task"), ("tasks",), ("train", "--task")], ids=lambda one: one[0]
)
def test_a_task_whose_module_is_not_there_is_one_line(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = run_command(*command, "no_such_tasks:My-v0")
    assert (refused.exit_code, refused.stderr) == (2, f"Error: {MISSING}\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("raise RuntimeError('not\\ntoday.')", "RuntimeError: not today"),
    ],
)
def test_a_task_whose_module_fails_is_one_error(
    text: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "failing_tasks.py").write_text(text, encoding="utf-8")
    message = f"Task 'failing_tasks:My-v0': its module cannot be imported: {error}."
    with pytest.raises(ValueError, match=exactly(message)):
        read_card("failing_tasks:My-v0")


def test_a_task_whose_class_is_not_there_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    gymnasium.register("Nowhere-v0", entry_point="no_such_tasks:NowhereEnv")
    try:
        message = (
            "Task 'Nowhere-v0': its class no_such_tasks:NowhereEnv cannot be imported: No module named 'no_such_tasks'."
        )
        with pytest.raises(ValueError, match=exactly(message)):
            read_card("Nowhere-v0")
    finally:
        gymnasium.registry.pop("Nowhere-v0")
