"""`textgym bench`: train every algorithm on every task with every seed, in parallel, and go on where it stopped."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from textgym.folder_lock import held_output
from textgym.shell_words import as_typed

from .errors import checked_input
from .own_modules import find_own_modules
from .stopping import stop_on_terminate

INTERRUPTED = 130
WAIT = "wait until that has ended, or give another --output."


def bench(
    tasks: Annotated[
        list[str] | None, typer.Option("--tasks", help="A task, or several with commas between them; repeatable.")
    ] = None,
    algos: Annotated[
        list[str] | None,
        typer.Option(
            "--algos",
            help="An algorithm, a run's file of settings, of which algorithm and policy count, or several with commas; "
            "LABEL= before one that comes twice. "
            "[default: PPO]",
        ),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Seeds: 1 to this number. [default: 5]", min=1)] = None,
    tokens: Annotated[int | None, typer.Option(help="Tokens of each run. [default: the task's]", min=1)] = None,
    grid: Annotated[
        Path | None,
        typer.Option("--grid", "-g", help="YAML file of tasks, algorithms, seeds, total_tokens and settings."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the runs.")] = Path("runs/bench"),
    jobs: Annotated[int | None, typer.Option(help="Runs at a time. [default: one a core]", min=1)] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of each. [default: OMP_NUM_THREADS, or cores / jobs]", min=1)
    ] = None,
) -> None:
    """Train every algorithm on every task with every seed.

    Each run is a folder as `textgym train` writes it. Called again, it skips finished runs, goes on with those that
    were stopped or failed, trains further what is to have more tokens, and begins what was added. An algorithm that
    comes more than once needs a label: what its runs' folder and the report call it.

    For example:

    ```
    textgym bench --tasks TextGen-Copy-v0,TextGen-Reverse-v0 --algos PPO,A2C --seeds 3
    textgym bench --tasks TextGen-Copy-v0 --algos A2C,tuned=runs/tune/TextGen-Copy-v0/A2C/best.yaml
    textgym bench --grid grid.yaml --output runs/mine
    textgym report runs/bench
    ```
    """
    from textgym.benchmarks.learning.grid import read_grid
    from textgym.benchmarks.learning.pool import n_cores, threads_each
    from textgym.benchmarks.learning.state import checkpoint_tokens, excess_tokens, state_of

    find_own_modules()
    given = {"tasks": _names(tasks), "algorithms": _names(algos), "seeds": seeds, "total_tokens": tokens}
    with ExitStack() as stack:
        with checked_input():
            runs = read_grid(grid, {key: value for key, value in given.items() if value is not None}).runs(output)
            stack.enter_context(held_output(output, f"Another textgym bench is at work in {output}; {WAIT}"))
            waiting = [run for run in runs if state_of(run) != "finished"]
            n_resumed = sum(checkpoint_tokens(run) is not None for run in waiting)
            longer = [f"{run.name} ({tokens:,})" for run in runs if (tokens := excess_tokens(run))]
        if longer:
            typer.echo(f"Trained with more tokens before, and kept as they are: {', '.join(longer)}")
        n_jobs = min(jobs or n_cores(), max(1, len(waiting)))
        before = _before(n_resumed, n_finished=len(runs) - len(waiting))
        _work(waiting, n_jobs, threads or threads_each(n_jobs), before, output)


def _before(n_resumed: int, n_finished: int) -> str:
    """Return what earlier calls have left: how many of the runs to do go on, and how many others are finished."""
    resumed = f"{n_resumed:,} of them resumed, " if n_resumed else ""
    return f"{resumed}{n_finished:,} finished before"


def _work(waiting: list[Any], jobs: int, threads: int, before: str, output: Path) -> None:
    from textgym.benchmarks.learning.display import BenchmarkDisplay, count
    from textgym.benchmarks.learning.pool import RunPool
    from textgym.training.report import report_console

    console = report_console()
    console.print(
        f"{count(len(waiting), 'run')} to do, {before}; {jobs} at a time, {count(threads, 'thread')} each",
        highlight=False,
    )
    pool = RunPool(waiting, jobs, threads)
    try:
        with stop_on_terminate(), BenchmarkDisplay(console, len(waiting)) as display:
            pool.run(display.look)
    except KeyboardInterrupt:
        console.print("Stopped; the same command goes on with what is not finished.")
        raise typer.Exit(INTERRUPTED) from None
    for failure in pool.failures:
        console.print(
            f"{failure.run.name} failed: {failure.reason} (see {failure.run.log})", soft_wrap=True, markup=False
        )
    if pool.failures:
        console.print(f"{len(pool.failures)} of {count(len(waiting), 'run')} failed; the same command tries again.")
        raise typer.Exit(1)
    console.print(
        f"All runs are in {output}; compare them by: textgym report {as_typed(output)}", soft_wrap=True, markup=False
    )


def _names(values: list[str] | None) -> list[str] | None:
    """Return names that were given with commas between them, or one at a time, or both."""
    return None if values is None else [name for value in values for name in value.split(",") if name]
