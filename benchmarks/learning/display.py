"""All runs of a benchmark on one screen: a bar for each that is working, and one for the whole."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .grid import GridRun
from .pool import RunPool
from .state import progress_of


def count(number: int, thing: str) -> str:
    """Return a number of things.

    >>> count(1, "thread"), count(2, "thread")
    ('1 thread', '2 threads')
    """
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


class BenchmarkDisplay:
    """Shows a pool of runs: live in a terminal, elsewhere one line for each run that begins, goes on or ends.

    Args:
        console: Where to show it.
        n_runs: Runs of the pool.
    """

    def __init__(self, console: Console, n_runs: int) -> None:
        self.console = console
        self.n_runs = n_runs
        self._bars: dict[str, TaskID] = {}
        self._working: dict[str, GridRun] = {}
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[amount]}"),
            TextColumn("{task.fields[score]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            expand=True,
        )
        self._total = self._progress.add_task("all runs", total=n_runs, amount="", score="")

    def __enter__(self) -> "BenchmarkDisplay":
        """Begin to show."""
        if self.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the last picture standing."""
        self._progress.stop()

    def look(self, pool: RunPool) -> None:
        """Show what a pool is doing now."""
        working = {run.name: run for run in pool.working}
        failed = {failure.run.name: failure for failure in pool.failures}
        for name in self._working.keys() - working.keys():
            if name in self._bars:
                self._progress.remove_task(self._bars.pop(name))
            if name in failed:
                self.console.print(
                    f"failed   {name}: {failed[name].reason}", soft_wrap=True, highlight=False, markup=False
                )
            elif self._working[name] not in pool.succeeded:
                self.console.print(f"stopped  {name}", soft_wrap=True, highlight=False, markup=False)
            else:
                _, score = progress_of(self._working[name])
                last = "" if score is None else f", score {score:.3f} in its last rollout"
                self.console.print(f"finished {name}{last}", soft_wrap=True, highlight=False, markup=False)
        for name, run in working.items():
            self._show(name, run, pool.resumed_at.get(name))
        self._working = working
        n_over = len(pool.succeeded) + len(pool.failures)
        self._progress.update(self._total, completed=n_over, amount=f"{n_over} of {count(self.n_runs, 'run')}")

    def _show(self, name: str, run: GridRun, resumed_at: int | None) -> None:
        if name not in self._working and not self.console.is_terminal:
            begins = f"begun    {name}" if resumed_at is None else f"resumed  {name} at {count(resumed_at, 'token')}"
            self.console.print(begins, soft_wrap=True, highlight=False, markup=False)
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=run.total_tokens, amount="", score="")
        n_tokens, score = progress_of(run)
        self._progress.update(
            self._bars[name],
            completed=min(n_tokens, run.total_tokens),
            amount=f"{n_tokens:,} of {run.total_tokens:,} tokens",
            score="" if score is None else f"score {score:.3f}",
        )
