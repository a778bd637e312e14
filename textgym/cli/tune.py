"""`textgym tune`: search for an algorithm's settings on a task, and write the best ones down."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from textgym.folder_lock import held_output

from .errors import checked_input, needs_extra, refuse
from .own_modules import find_own_modules
from .stopping import stop_on_terminate

INTERRUPTED = 130
WAIT = "wait until that has ended, or give another --output."


def tune(
    task: Annotated[str, typer.Option("--task", help="The task, such as TextGen-Copy-v0.")],
    algo: Annotated[str, typer.Option("--algo", "--algorithm", help="The algorithm.")] = "PPO",
    trials: Annotated[int, typer.Option(help="Settings to try, those of earlier calls among them.", min=1)] = 20,
    seeds: Annotated[int, typer.Option(help="Runs of each, with seeds from 101 on.", min=1)] = 2,
    tokens: Annotated[int | None, typer.Option(help="Tokens of each run. [default: the task's]", min=1)] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the search. [default: runs/tune/TASK/ALGORITHM]")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Runs at a time. [default: one a core]", min=1)] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of each. [default: OMP_NUM_THREADS, or cores / jobs]", min=1)
    ] = None,
) -> None:
    """Search for the settings with which an algorithm scores highest on a task.

    What is tried is printed first. Each trial trains with its settings once a seed, none of which is a seed of textgym
    bench, and is worth the mean score after training. The first trial has the defaults. Trials are stored in study.db,
    an Optuna study in SQLite; called again, it goes on where it stopped. The best settings are written to best.yaml. A
    folder has one search: other tokens or seeds need another.

    For example:

    ```
    textgym tune --task TextGen-Copy-v0 --algo A2C --trials 20
    textgym train --config runs/tune/TextGen-Copy-v0/A2C/best.yaml --seed 1
    textgym bench --tasks TextGen-Copy-v0 --algos A2C,tuned=runs/tune/TextGen-Copy-v0/A2C/best.yaml
    ```
    """
    needs_extra("tune", "optuna")
    from textgym.benchmarks.learning.pool import n_cores, threads_each
    from textgym.benchmarks.learning.search_space import search_space
    from textgym.benchmarks.learning.state import UnusableFolderError
    from textgym.benchmarks.learning.tuning import Search, n_done
    from textgym.benchmarks.learning.tuning import tune as search_for
    from textgym.training.algorithms import ALGORITHMS
    from textgym.training.report import report_console

    find_own_modules()
    with checked_input():
        search = Search(task, algo, output or Path("runs/tune") / task / algo, seeds, tokens)
    console = report_console()
    for name, values in search_space(ALGORITHMS[algo]).items():
        console.print(f"{name:<20} {values}", highlight=False)

    def report(number: int, settings: dict[str, Any], value: float | None) -> None:
        tried = ", ".join(f"{name} {_short(one)}" for name, one in settings.items())
        result = "failed (see the logs)" if value is None else f"score {value:.3f}"
        console.print(f"trial {number:>3}: {result} with {tried}", soft_wrap=True, highlight=False)

    n_jobs = jobs or n_cores()
    try:
        with ExitStack() as stack:
            with checked_input():
                stack.enter_context(
                    held_output(search.folder, f"Another textgym tune is at work in {search.folder}; {WAIT}")
                )
            stack.enter_context(stop_on_terminate())
            study = search_for(search, trials, n_jobs, threads or threads_each(n_jobs), lambda _: None, report)
    except UnusableFolderError as error:
        refuse(str(error))
    except KeyboardInterrupt:
        console.print("Stopped; the same command goes on with what is not finished.")
        raise typer.Exit(INTERRUPTED) from None
    if not n_done(study):
        console.print(f"No trial succeeded; the runs' logs are in {search.folder}.", soft_wrap=True)
        raise typer.Exit(1)
    best = ", ".join(f"{name} {_short(value)}" for name, value in study.best_params.items())
    console.print(f"best: score {study.best_value:.3f} with {best}", soft_wrap=True, highlight=False)
    console.print(f"Written to {search.best_file}", soft_wrap=True, highlight=False)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
