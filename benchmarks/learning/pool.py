"""Several training runs at a time, each a process with its share of the cores, until all have ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import IO, NamedTuple

from .grid import GridRun
from .state import checkpoint_tokens, command_of

SECONDS_BETWEEN_LOOKS = 0.3
# Each library that would start a thread a core.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


class Failure(NamedTuple):
    """A run that did not succeed, its exit code and why it failed."""

    run: GridRun
    exit_code: int
    reason: str


class _Process(NamedTuple):
    run: GridRun
    popen: "subprocess.Popen[bytes]"
    log: IO[bytes]
    log_start: int  # where its own lines begin, in a log that an earlier session may have begun


def n_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def threads_each(jobs: int) -> int:
    """Return the threads of each of several processes: those of the user's OMP_NUM_THREADS, or a share of the cores."""
    # A list, such as "4,2", is for levels of nesting.
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(wanted) if wanted.isdecimal() and int(wanted) > 0 else max(1, n_cores() // jobs)


class RunPool:
    """Runs that are waiting, working and over.

    Args:
        runs: What to run, in order.
        jobs: Processes at a time.
        threads: Threads of each.

    Attributes:
        working: The runs that have a process.
        failures: The runs that failed so far.
        succeeded: The runs that succeeded so far.
        resumed_at: Tokens at which runs were resumed, by the names of these runs.
    """

    def __init__(self, runs: Sequence[GridRun], jobs: int, threads: int) -> None:
        self._waiting = list(runs)
        self._jobs = jobs
        self._environment = {
            **os.environ,
            **dict.fromkeys(THREAD_VARIABLES, str(threads)),
            "TOKENIZERS_PARALLELISM": "false",
        }
        self._processes: list[_Process] = []
        self.failures: list[Failure] = []
        self.succeeded: list[GridRun] = []
        self.resumed_at: dict[str, int] = {}

    @property
    def working(self) -> list[GridRun]:
        """The runs that have a process."""
        return [process.run for process in self._processes]

    def run(self, look: Callable[["RunPool"], None]) -> None:
        """Work until no run is left.

        Args:
            look: Called about three times a second, and once at the end.

        Raises:
            KeyboardInterrupt: If it came; all processes have then saved what they had, and stopped.
        """
        try:
            while self._waiting or self._processes:
                while self._waiting and len(self._processes) < self._jobs:
                    self._processes.append(self._start(self._waiting.pop(0)))
                look(self)
                time.sleep(SECONDS_BETWEEN_LOOKS)
                self._collect()
        finally:
            self._stop()
            look(self)

    def _start(self, run: GridRun) -> _Process:
        tokens = checkpoint_tokens(run)
        if tokens is not None:
            self.resumed_at[run.name] = tokens
        command = [sys.executable, "-m", "textgym.cli", *command_of(run)]
        log = run.log.open("ab")
        log_start = log.tell()
        # In a session of its own it does not get the terminal's Ctrl-C; a second one would cut its saving short.
        popen = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=self._environment,
            start_new_session=True,
        )  # fmt: skip
        return _Process(run, popen, log, log_start)

    def _collect(self) -> None:
        for process in list(self._processes):
            exit_code = process.popen.poll()
            if exit_code is None:
                continue
            process.log.close()
            self._processes.remove(process)
            if exit_code == 0:
                self.succeeded.append(process.run)
            else:
                printed = process.run.log.read_bytes()[process.log_start :].decode("utf-8", errors="replace")
                self.failures.append(Failure(process.run, exit_code, failure_reason(exit_code, printed)))

    def _stop(self) -> None:
        """Ask what is still working to save and stop, and wait until it has."""
        for process in self._processes:
            process.popen.terminate()
        for process in self._processes:
            process.popen.wait()
            process.log.close()
        self._processes = []


def failure_reason(exit_code: int, printed: str) -> str:
    r"""Return in one line why a training failed.

    Args:
        exit_code: Its exit code; below 0 it is the number of a signal.
        printed: What it printed.

    >>> failure_reason(2, "Error: There is no reward 'boom'.\nTo go on: textgym train --resume run\n")
    "There is no reward 'boom'."
    >>> failure_reason(-9, "1,024 tokens, score 0.5\n")
    'killed by SIGKILL (out of memory?)'
    """
    if exit_code < 0:
        return f"killed by {_signal_name(-exit_code)}{' (out of memory?)' if exit_code == -signal.SIGKILL else ''}"
    lines = [line.rstrip() for line in printed.splitlines() if line.strip()]
    for index in reversed(range(len(lines))):
        if lines[index].startswith("Error: "):
            return lines[index].removeprefix("Error: ")
        if lines[index] == "Traceback (most recent call last):":
            # What follows the indented places in the code is the exception, whose message may have further lines.
            after = [line for line in lines[index + 1 :] if not line.startswith(" ")]
            if after:
                return after[0]
    last = f"; the last line that it printed: {lines[-1].strip()}" if lines else ", and printed nothing"
    return f"it ended with exit code {exit_code}{last}"


def _signal_name(number: int) -> str:
    named = [one.name for one in signal.Signals if one == number]
    return named[0] if named else f"signal {number}"
