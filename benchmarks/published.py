"""The published comparison: every algorithm on four tasks, tuned, five seeds, equal tokens; table, figure and record.

    python -m textgym.benchmarks.published

Each algorithm's settings on a task come from a small search (`textgym tune`, whose seeds are not among those that are
published) and are kept in `benchmarks/results/tuned/TASK/ALGORITHM.yaml`. What lies there is not searched for again;
`--trials 0` takes the defaults of whatever does not. Then `textgym bench` trains with every seed. Both go on where they
were stopped. What is finished is kept in `benchmarks/results/published_runs.jsonl`, so that the comparison, which takes
many hours, can be made in parts and on several machines. The results go to `benchmarks/results/`: `published.json`,
`published.md`, and the figures `published.png` (scores), `published_curves.png` (over tokens) and `published_kl.png`
(against KL). The main table goes into `README.md` between the marks `<!-- published -->` and `<!-- end of published
-->`. `--show` writes all of it, of what is finished so far.
"""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer
from matplotlib.figure import Figure

from textgym.cli.bench import bench
from textgym.cli.errors import checked_input
from textgym.cli.tune import tune
from textgym.training.algorithms import ALGORITHMS

from .learning.figures import curve_panels, frontier_panels, score_panels
from .learning.grid import GridRun, read_grid
from .learning.kept_runs import KeptRuns, check_bundled_model
from .learning.page import COLUMNS, cells, markdown, text_table
from .learning.records import Choice, RunRecord, find_records
from .learning.statistics import Estimate
from .learning.summary import Row, card_of, describe_texts, over_tasks, summarise
from .main_job import RESULTS
from .readme import README, write_into_readme

TASKS = ("TextGen-v0", "TextGen-Sentiment-v0", "TextGen-Length-v0", "TextGen-Reverse-v0")
# So that at a seed's end no core waits for one that began last.
SLOWEST_FIRST = tuple(reversed(ALGORITHMS))
UNTRAINED: dict[Choice, str] = {
    "sampled": "untrained, tokens sampled",
    "nucleus": "untrained, tokens of a nucleus (NLPO)",
    "best tokens": "untrained, best tokens (DQN and its relatives)",
}
_COLUMNS_IN_WORDS = """\
Before and after: mean score on held-out prompts; after training the interquartile mean over the seeds, with a 95 %
interval. KL: nats a completion, to the model before training. Solved: runs whose rollouts reached the task's threshold,
as a mean of three in a row, and the median of tokens and of seconds of training until then. The score on held-out
prompts can be on the other side of the threshold, above all where rollouts explore and evaluations do not.

Completions on held-out prompts, means over the seeds; "ended" is the share that the model ended within its budget.
"""
MARKS = ("<!-- published -->", "<!-- end of published -->")


def tuned_settings(task: str, algorithm: str, tuned: Path) -> str:
    """Return the file with an algorithm's settings on a task; its name where there is none."""
    path = tuned / task / f"{algorithm}.yaml"
    return str(path) if path.is_file() else algorithm


def search_settings(
    task: str, algorithm: str, trials: int, tokens: int, tuned: Path, runs: Path, jobs: int | None
) -> None:
    """Search for an algorithm's settings on a task, with one run a trial, and keep them; not if they are there."""
    kept = tuned / task / f"{algorithm}.yaml"
    if kept.is_file():
        return
    folder = runs / "tune" / task / algorithm
    tune(task, algorithm, trials, seeds=1, tokens=tokens, output=folder, jobs=jobs, threads=None)
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "best.yaml", kept)


def grid_runs(task: str, algorithms: list[str], seeds: int, tokens: int, folder: Path) -> list[GridRun]:
    """Return the runs of all algorithms on a task."""
    given = {"tasks": [task], "algorithms": algorithms, "total_tokens": tokens, "seeds": seeds}
    return read_grid(None, given).runs(folder)


def train(
    task: str, algorithms: list[str], seeds: int, tokens: int, folder: Path, jobs: int | None, kept: KeptRuns
) -> None:
    """Train what is not finished, and keep it seed by seed."""
    for seed in range(1, seeds + 1):
        try:
            bench([task], algorithms, seed, tokens, None, folder, jobs, None)
        finally:
            kept.keep(grid_runs(task, algorithms, seed, tokens, folder))


def finished_runs(folder: Path) -> list[RunRecord]:
    """Return the finished runs, in the order of tasks and algorithms.

    Raises:
        ValueError: If there is none.
    """
    finished = [run for run in find_records([folder]) if run.is_finished]
    if not finished:
        raise ValueError(f"No run in {folder} is finished.")
    tasks, algorithms = list(TASKS), list(ALGORITHMS)
    tasks += sorted({run.task for run in finished} - set(tasks))
    return sorted(finished, key=lambda one: (tasks.index(one.task), algorithms.index(one.algorithm), one.seed))


def readme_table(rows: Sequence[Row], means: dict[str, Estimate]) -> str:
    """Return scores and KL as a table: a row an algorithm, a column a task, and what holds over all tasks."""
    tasks = list(dict.fromkeys(row.task for row in rows))
    found = {(row.task, row.algorithm): row for row in rows}
    lines = [["algorithm", *(f"`{task}`" for task in tasks), "all, normalised"], ["---", *["---:"] * (len(tasks) + 1)]]
    for choice, title in UNTRAINED.items():
        before = [score_before(task, rows, choice) for task in tasks]
        if any(score is not None for score in before):
            lines.append([title, *("-" if score is None else f"{score:.2f}" for score in before), "-"])
    for name in dict.fromkeys(row.algorithm for row in rows):
        scores = [found.get((task, name)) for task in tasks]
        texts = ["-" if row is None else _score_and_kl(row) for row in scores]
        lines.append([name, *texts, _spread(means[name]) if name in means else "-"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(runs: Sequence[RunRecord], rows: Sequence[Row]) -> dict[str, Figure]:
    """Draw the figures of all runs, by the names of their files."""
    tasks = list(dict.fromkeys(row.task for row in rows))
    scores = {task: {row.algorithm: row.score for row in rows if row.task == task} for task in tasks}
    before = {task: {row.algorithm: row.before for row in rows if row.task == task} for task in tasks}
    cards = {task: card_of(task) for task in tasks}
    thresholds = {task: card.threshold if card else None for task, card in cards.items()}
    algorithms = list(dict.fromkeys(row.algorithm for row in rows))
    figures = {
        "published": score_panels(scores, before, thresholds, algorithms),
        "published_curves": curve_panels(runs, thresholds, algorithms),
    }
    if any(row.kl is not None for row in rows):
        figures["published_kl"] = frontier_panels(runs, algorithms)
    return figures


def tables(runs: Sequence[RunRecord], rows: Sequence[Row]) -> str:
    """Return what a row an algorithm and task says of scores, and of the texts, as Markdown."""
    of_scores, of_texts = markdown(COLUMNS, [cells(row) for row in rows]), markdown(*text_table(describe_texts(runs)))
    return "\n".join([of_scores, _COLUMNS_IN_WORDS, of_texts])


def score_before(task: str, rows: Sequence[Row], choice: Choice) -> float | None:
    """Return the mean score before training of a task's runs that choose tokens in one way; None where none does."""
    return _mean([row.before for row in rows if row.task == task and row.choice == choice])


def machines(runs: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Return the kinds of machine that runs were made on, with how many sessions were on each."""
    names = ("device", "cores", "torch_threads")
    counts = Counter(tuple(session[name] for name in names) for run in runs for session in run.sessions)
    return [dict(zip((*names, "sessions"), (*kind, n), strict=True)) for kind, n in sorted(counts.items())]


def publish(runs: Sequence[RunRecord], command: str, results: Path, readme: Path) -> None:
    """Write the record, the tables and the figure of finished runs, and the README's part."""
    rows = summarise(runs)
    means, chances = over_tasks(runs)
    results.mkdir(parents=True, exist_ok=True)
    record = {
        "command": command,
        "machines": machines(runs),
        "runs": [_record(run) for run in runs],
        "interquartile_means": {name: mean._asdict() for name, mean in means.items()},
        "probabilities_of_improvement": {name: chance._asdict() for name, chance in chances.items()},
        "settings": {f"{run.task} {run.algorithm}": run.settings["algorithm"] for run in runs},
    }
    (results / "published.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (results / "published.md").write_text(tables(runs, rows), encoding="utf-8")
    for name, figure in draw(runs, rows).items():
        figure.savefig(results / f"{name}.png", dpi=110)
    write_into_readme(f"{readme_table(rows, means)}\n\n{_about(rows)}", MARKS, readme)


def main(
    tasks: Annotated[str, typer.Option(help="Tasks, with commas between them.")] = ",".join(TASKS),
    algorithms: Annotated[str, typer.Option(help="Algorithms, likewise.")] = ",".join(SLOWEST_FIRST),
    seeds: Annotated[int, typer.Option(help="Seeds: 1 to this number.", min=1)] = 5,
    trials: Annotated[int, typer.Option(help="Settings to try of each algorithm on each task.", min=0)] = 4,
    tokens: Annotated[int, typer.Option(help="Tokens of each run, up to the end of a rollout.", min=1)] = 30_000,
    search_tokens: Annotated[int, typer.Option(help="Tokens of each trial, likewise.", min=1)] = 15_000,
    runs: Annotated[Path, typer.Option(help="Folder for the runs.")] = Path("runs/published"),
    jobs: Annotated[int | None, typer.Option(help="Runs at a time. [default: one a core]", min=1)] = None,
    results: Annotated[Path, typer.Option(help="Folder for the results.")] = RESULTS,
    readme: Annotated[Path, typer.Option(help="File with the marks.")] = README,
    show: Annotated[bool, typer.Option("--show", help="Write what is finished, and train nothing.")] = False,
) -> None:
    """Compare all algorithms on four tasks, and write table, figure and record."""
    names, tuned = algorithms.split(","), results / "tuned"
    kept = KeptRuns(results / "published_runs.jsonl")
    with checked_input():
        for task in tasks.split(","):
            grid_runs(task, names, seeds, tokens, runs / "bench")  # a mistaken name is told before hours of training
        check_bundled_model(runs)
    for task in tasks.split(","):
        for name in names if trials and not show else ():
            search_settings(task, name, trials, search_tokens, tuned, runs, jobs)
        settings = [tuned_settings(task, name, tuned) for name in names]
        kept.restore(grid_runs(task, settings, seeds, tokens, runs / "bench"))
        if not show:
            train(task, settings, seeds, tokens, runs / "bench", jobs, kept)
    command = f"python -m textgym.benchmarks.published --tasks {tasks} --seeds {seeds} --trials {trials}"
    command += f" --tokens {tokens} --search-tokens {search_tokens}"
    with checked_input():
        publish(finished_runs(runs / "bench"), command, results, readme)


def _record(run: RunRecord) -> dict[str, Any]:
    after = run.evaluation["after"]
    return {
        "task": run.task,
        "algorithm": run.algorithm,
        "seed": run.seed,
        "tokens": after["tokens"],
        "seconds": float(run.seconds[-1]) if len(run.seconds) else None,
        "score_before": run.evaluation["before"]["score"],
        "score": run.final_score,
        "greedy_score": (after.get("greedy") or {}).get("score"),
        "kl": run.final_kl,
        "distinct_2": after["distinct_2"],
    }


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _spread(estimate: Estimate) -> str:
    between = "" if estimate.low is None else f" ({estimate.low:.2f}, {estimate.high:.2f})"
    return f"{estimate.value:.2f}{between}"


def _score_and_kl(row: Row) -> str:
    return _spread(row.score) if row.kl is None else f"{_spread(row.score)}, {row.kl:.0f}"


def _about(rows: Sequence[Row]) -> str:
    counts = sorted({len(row.seeds) for row in rows})
    seeds = f"{counts[0]} seeds" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    return (
        f"Interquartile means of the score on held-out prompts over {seeds}, with 95 % intervals, and behind them the "
        "mean KL to the untrained model in nats a completion; normalised: 0 is the untrained model's score with "
        "sampled tokens, 1 the best known."
    )


if __name__ == "__main__":
    typer.run(main)
