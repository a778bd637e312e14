"""Train every algorithm on the reference task, over several seeds and with equal tokens: a table in the README.

    python -m textgym.benchmarks.algorithms

Each run is one `textgym train` with the algorithm's defaults, under `textgym bench`: called again, it goes on where it
was stopped, and `--show` prints the table of what is finished so far. What is finished is kept in
`benchmarks/results/algorithms_runs.jsonl`, so that the table can be made in parts and on several machines. When all is
finished, the results go to `benchmarks/results/algorithms.json`, and into `README.md` between the marks
`<!-- algorithms -->` and `<!-- end of algorithms -->`.
"""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from textgym.cli.bench import bench
from textgym.cli.errors import checked_input
from textgym.training.algorithms import ALGORITHMS

from .learning.figures import by_algorithm
from .learning.grid import read_grid
from .learning.kept_runs import KeptRuns, check_bundled_model
from .learning.records import RunRecord, find_records
from .machine import describe_machine
from .main_job import RESULTS, summarise
from .readme import README, write_into_readme

TASK = "TextGen-v0"
MARKS = ("<!-- algorithms -->", "<!-- end of algorithms -->")
COLUMNS = ("algorithm", "score before", "score after (lowest, highest)", "keyword coverage", "with a banned word",
           "length inside", "KL, nats", "distinct-2", "minutes")  # fmt: skip
# What every algorithm has is said once, in the documentation of `textgym train`.
HYPERPARAMETERS = ("learning_rate", "learning_rate_end", "tokens_per_rollout", "batch_size", "n_epochs", "clip_range",
                   "kl_coef", "target_kl", "gae_lambda", "potential_shaping", "self_imitation", "baseline",
                   "completions_per_prompt", "top_p", "mask_update_interval", "n_policy_iterations", "n_aux_epochs",
                   "cg_max_steps", "curvature_share", "n_critic_updates", "gradient_steps", "n_steps", "candidates",
                   "advantage_scale", "exploration", "exploration_fraction", "target_update_interval",
                   "n_quantiles")  # fmt: skip


def row_of(run: RunRecord) -> dict[str, Any]:
    """Return a finished run's row of the results, with the seconds of training alone."""
    seconds = float(run.seconds[-1]) if len(run.seconds) else None
    return {"algorithm": run.algorithm, **summarise(run.folder, run.seed, seconds)}


def markdown_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the results as a table, a row an algorithm: means over seeds, and the scores' range."""
    lines = [COLUMNS, ("---", *["---:"] * (len(COLUMNS) - 1))]
    for name in dict.fromkeys(row["algorithm"] for row in rows):
        lines.append(_cells(name, [row for row in rows if row["algorithm"] == name]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def hyperparameter_table(runs: Sequence[RunRecord]) -> str:
    """Return what each algorithm was trained with, of its settings the telling ones."""
    lines = ["| algorithm | hyper-parameters |", "|---|---|"]
    for name, records in by_algorithm(runs).items():
        settings = dict(records[0].settings["algorithm"])
        group_size = ALGORITHMS[settings["name"]].completions_per_prompt
        settings["completions_per_prompt"] = group_size if group_size > 1 else None
        named = {key: settings[key] for key in HYPERPARAMETERS if settings.get(key) is not None}
        lines.append(f"| {name} | {', '.join(f'{key} {_plain(value)}' for key, value in named.items())} |")
    return "\n".join(lines)


def report(folder: Path) -> tuple[list[RunRecord], list[RunRecord], str]:
    """Return the finished runs of a benchmark, those that are not, and the finished ones' tables.

    Raises:
        ValueError: If there is no finished run.
    """
    runs = find_records([folder])
    order = list(ALGORITHMS)
    finished = [run for run in runs if run.is_finished]
    finished.sort(key=lambda run: (order.index(run.settings["algorithm"]["name"]), run.algorithm, run.seed))
    if not finished:
        raise ValueError(f"None of the {len(runs)} runs in {folder} is finished.")
    tokens = f"{statistics.median(run.evaluation['after']['tokens'] for run in finished):,.0f}"
    seeds = sorted({run.seed for run in finished})
    about = (
        f"On {finished[0].evaluation['n_completions']} held-out completions, after about {tokens} tokens; means over "
        f"the seeds {', '.join(map(str, seeds))}. Values take their best token, the others sample, also before "
        "training; KL is of a completion, distinct-2 in relation to the untrained model's, and minutes are training's."
    )
    lines = [markdown_table([row_of(run) for run in finished]), "", about, "", hyperparameter_table(finished)]
    return finished, [run for run in runs if not run.is_finished], "\n".join(lines)


def main(
    seeds: Annotated[int, typer.Option(help="Seeds: 1 to this number.", min=1)] = 3,
    tokens: Annotated[int, typer.Option(help="Tokens of each run.", min=1)] = 50_000,
    runs: Annotated[Path, typer.Option(help="Folder for the runs.")] = Path("runs/algorithms"),
    jobs: Annotated[int, typer.Option(help="Runs at a time; 1 for minutes that can be compared.", min=1)] = 1,
    threads: Annotated[int | None, typer.Option(help="Threads of each. [default: cores / jobs]", min=1)] = None,
    grid: Annotated[
        Path | None, typer.Option(help="YAML file as textgym bench takes it, for other algorithms or settings.")
    ] = None,
    results: Annotated[Path, typer.Option(help="Folder for the results.")] = RESULTS,
    readme: Annotated[Path, typer.Option(help="File with the marks.")] = README,
    show: Annotated[bool, typer.Option("--show", help="Print what is finished, and train nothing.")] = False,
) -> None:
    """Train every algorithm on the reference task, over several seeds, and write the README's table."""
    algorithms = None if grid is not None else list(ALGORITHMS)
    given = {"tasks": [TASK], "algorithms": algorithms, "seeds": seeds, "total_tokens": tokens}
    with checked_input():
        check_bundled_model(runs)
        planned = read_grid(grid, {key: value for key, value in given.items() if value is not None}).runs(runs)
        kept = KeptRuns(results / "algorithms_runs.jsonl")
        kept.restore(planned)
    if not show:
        try:
            bench([TASK], algorithms, seeds, tokens, grid, runs, jobs, threads)
        except typer.Exit:
            show = True
        finally:
            kept.keep(planned)
    with checked_input():
        finished, unfinished, text = report(runs)
    print(text)
    if unfinished:
        print(f"Not finished: {', '.join(f'{run.algorithm} seed {run.seed}' for run in unfinished)}.")
    if show:
        return
    record = {
        "command": f"python -m textgym.benchmarks.algorithms --seeds {seeds} --tokens {tokens} --jobs {jobs}",
        "machine": describe_machine(),
        "rows": [row_of(run) for run in finished],
        "settings": {name: runs[0].settings["algorithm"] for name, runs in by_algorithm(finished).items()},
    }
    (results / "algorithms.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    write_into_readme(text, MARKS, readme)


def _cells(name: str, rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    def mean(key: str, form: str, scale: float = 1.0) -> str:
        values = [row[key] for row in rows if row[key] is not None]
        return format(statistics.mean(values) * scale, form) if values else "-"

    scores = [row["score"] for row in rows]
    return (
        name,
        mean("score_before", ".2f"),
        f"{mean('score', '.2f')} ({min(scores):.2f}, {max(scores):.2f})",
        mean("keywords", ".2f"),
        mean("banned_words", ".1%"),
        mean("length_inside", ".0%"),
        mean("kl", ".1f"),
        mean("distinct_2_ratio", ".0%"),
        mean("seconds", ".1f", 1 / 60),
    )


def _plain(value: object) -> str:
    """Return a setting as one would type it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else f"{value}"


if __name__ == "__main__":
    typer.run(main)
