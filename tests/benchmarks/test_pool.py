"""Why a run of a benchmark failed, in one line; its threads; and the signals that end it with what works for it."""

import os
import signal
import sys
import zipfile
from pathlib import Path

import pytest

from textgym.benchmarks.learning.grid import Grid
from textgym.benchmarks.learning.pool import Failure, RunPool, failure_reason, n_cores, threads_each
from textgym.benchmarks.learning.state import checkpoint_tokens
from textgym.cli.stopping import stop_on_terminate

COPY = "TextGen-Copy-v0"
TRACEBACK = """512 tokens, score 0.5
Traceback (most recent call last):
  File "my_rewards.py", line 3, in boom
    raise RuntimeError("no\\njudgement")
RuntimeError: no
judgement
"""
REFUSED = """Error: Reward 'boom' raised RuntimeError: no judgement.
Once it is mended: textgym train --resume run
"""


@pytest.mark.parametrize(
    ("exit_code", "printed", "reason"),
    [
        (2, TRACEBACK + REFUSED, "Reward 'boom' raised RuntimeError: no judgement."),
        (1, TRACEBACK, "RuntimeError: no"),
        (1, REFUSED + TRACEBACK + "a library says goodbye\n", "RuntimeError: no"),
        (-9, REFUSED, "killed by SIGKILL (out of memory?)"),
        (-11, "512 tokens, score 0.5\n", "killed by SIGSEGV"),
        (-1000, "", "killed by signal 1000"),
        (3, "512 tokens\n\n", "it ended with exit code 3; the last line that it printed: 512 tokens"),
        (3, "", "it ended with exit code 3, and printed nothing"),
    ],
)
def test_the_reason_is_the_error_and_not_the_last_line(exit_code: int, printed: str, reason: str) -> None:
    assert failure_reason(exit_code, printed) == reason


def failure_of(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch, log: str = "") -> Failure:
    """Return how a run fails whose interpreter is a shell script; it was begun before, and has left a log."""
    run = Grid([COPY], ["PPO"], [1], 100).runs(folder)[0]
    run.folder.mkdir(parents=True)
    (run.folder / "config.yaml").write_text("seed: 1\n", encoding="utf-8")
    run.log.write_text(log, encoding="utf-8")
    interpreter = folder / "interpreter"
    interpreter.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    pool = RunPool([run], jobs=1, threads=1)
    pool.run(lambda _: None)
    return pool.failures[0]


def test_a_run_that_was_killed_is_said_to_have_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = failure_of("echo 512 tokens; kill -KILL $$", tmp_path, monkeypatch)
    assert (failure.exit_code, failure.reason) == (-signal.SIGKILL, "killed by SIGKILL (out of memory?)")


def test_what_an_earlier_session_has_printed_is_no_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = failure_of("exit 3", tmp_path, monkeypatch, log="Error: of yesterday\n")
    assert failure.reason == "it ended with exit code 3, and printed nothing"
    assert failure.run.log.read_text(encoding="utf-8") == "Error: of yesterday\n"


@pytest.mark.parametrize("damage", [b"no archive", None])
def test_a_run_without_a_whole_checkpoint_is_not_called_resumed(damage: bytes | None, tmp_path: Path) -> None:
    run = Grid([COPY], ["PPO"], [1], 100).runs(tmp_path)[0]
    assert checkpoint_tokens(run) is None
    run.folder.mkdir(parents=True)
    (run.folder / "config.yaml").write_text("seed: 1\n", encoding="utf-8")
    assert checkpoint_tokens(run) is None
    with zipfile.ZipFile(run.folder / "model.zip", "w") as archive:
        archive.writestr("data" if damage is None else "other", '{"num_timesteps": 64}')
    assert checkpoint_tokens(run) == (64 if damage is None else None)
    if damage is not None:
        (run.folder / "model.zip").write_bytes(damage)
        assert checkpoint_tokens(run) is None
    # A finished one is left as it is.
    (run.folder / "evaluation.json").write_text('{"after": {"tokens": 100}}', encoding="utf-8")
    assert checkpoint_tokens(run) is None


@pytest.mark.parametrize(("variable", "expected"), [("3", 3), ("4,2", 4), ("0", None), ("many", None), (None, None)])
def test_threads_are_the_users_or_a_share_of_the_cores(
    variable: str | None, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert threads_each(1) == (expected or n_cores())
    assert threads_each(n_cores()) == (expected or 1)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
def test_a_closed_terminal_stops_as_ctrl_c_does_unless_it_is_ignored() -> None:
    # These tests may themselves run under nohup, which ignores it.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt), stop_on_terminate():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with stop_on_terminate():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
