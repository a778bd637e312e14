"""Write a report: a page that needs nothing besides itself, and the table as Markdown."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml

from textgym.html_page import render_page
from textgym.replacing import replacing_file
from textgym.training.run_folder import RunFolder

from .display import count
from .figures import by_algorithm, chance_matrix, frontier, intervals, learning_curves
from .records import RunRecord
from .statistics import Estimate
from .summary import (
    BEFORE,
    TEXT_FIGURES,
    Row,
    TextRow,
    card_of,
    common_tasks,
    describe_texts,
    differing_settings,
    over_tasks,
    summarise,
)

COLUMNS = ("task", "algorithm", "seeds", "tokens", "before", "score after (IQM, 95 %)", "KL", "solved",
           "tokens to solve", "seconds to solve")  # fmt: skip
ROWS_OF_COMPLETIONS = 6
MOST_INTERVALS = 6  # pairs of algorithms that are drawn one by one


def write_report(records: Sequence[RunRecord], page: Path) -> Path:
    """Write a report.

    Args:
        records: The runs; those that are not finished are only named.
        page: The HTML file; the Markdown table lies beside it.

    Returns:
        The Markdown file.

    Raises:
        ValueError: If no run is finished, or the page has the table's name or that of a folder.
    """
    if page.suffix == ".md" or page.is_dir():
        what = "is a folder" if page.is_dir() else "has the name of the table beside it"
        raise ValueError(f"The page must be an HTML file, such as report.html; {page} {what}.")
    finished = [record for record in records if record.is_finished]
    if not finished:
        raise ValueError(f"None of the {len(records)} runs is finished; go on with them first.")
    algorithms = list(by_algorithm(finished))
    rows, text_rows = by_score(summarise(finished)), describe_texts(finished)
    tables = {"scores": (COLUMNS, [cells(row) for row in rows]), "texts": text_table(text_rows)}
    terms = term_tables(text_rows)
    means, chances = over_tasks(finished)
    is_matrix = len(chances) > MOST_INTERVALS
    text = render_page(
        Path(__file__).with_name("page.html.j2"),
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        n_finished=len(finished),
        unfinished=[record for record in records if not record.is_finished],
        algorithms=algorithms,
        tables=tables,
        term_tables=terms,
        mean_figure=intervals(means, "interquartile mean of normalised scores", algorithms) if means else None,
        chance_figure=_chance_figure(list(means), chances, algorithms, is_matrix) if chances else None,
        chance_is_matrix=is_matrix,
        common_tasks=common_tasks(finished),
        differences=_differences(finished),
        n_tasks=len({record.task for record in finished}),
        tasks=[_task(task, finished, algorithms) for task in dict.fromkeys(record.task for record in finished)],
        viewer=[_seen(record) for record in finished if record.tokens_seen],
        hyperparameters=_hyperparameters(finished),
        sessions=_sessions(finished),
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    table = page.with_suffix(".md")
    for path, content in ((page, text), (table, "\n".join(markdown(*one) for one in (*tables.values(), *terms)))):
        with replacing_file(path) as partial:
            partial.write_text(content, encoding="utf-8")
    return table


def by_score(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of each task from the highest score to the lowest."""
    tasks = list(dict.fromkeys(row.task for row in rows))
    return sorted(rows, key=lambda row: (tasks.index(row.task), -row.score.value))


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as Markdown, whose columns from the third on are numbers."""
    lines = [columns, ("---", "---", *["---:"] * (len(columns) - 2)), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cells(row: Row) -> tuple[str, ...]:
    """Return a row's cells as text."""
    n_runs = len(row.seeds)
    return (
        row.task,
        row.algorithm,
        str(n_runs),
        f"{row.tokens:,.0f}",
        f"{row.before:.3f}",
        _interval(row.score),
        _number(row.kl, ".1f"),
        "-" if row.n_solved is None else f"{row.n_solved} of {n_runs}",
        _number(row.tokens_to_threshold, ",.0f"),
        _seconds(row.seconds_to_threshold),
    )


def text_table(rows: Sequence[TextRow]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return columns and rows of the table on texts; a column that is empty throughout, as a judge's, is left out."""
    shown = [name for name in TEXT_FIGURES if any(row.figures[name] is not None for row in rows)]
    return ("task", "completions of", *shown), [text_cells(row, shown) for row in rows]


def text_cells(row: TextRow, names: Sequence[str]) -> tuple[str, ...]:
    """Return the cells of a row on texts, with the figures of some names."""
    forms = {"KL": ".1f", "perplexity": ",.1f", "tokens": ".1f", "ended": ".0%", "completions": ".0f"}
    return (row.task, row.name, *(_number(row.figures[name], forms.get(name, ".3f")) for name in names))


def term_tables(rows: Sequence[TextRow]) -> list[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
    """Return, for each task whose score has several terms, columns and rows of their table."""
    tables = []
    for task in dict.fromkeys(row.task for row in rows):
        own = [row for row in rows if row.task == task]
        names = list(dict.fromkeys(name for row in own for name in row.terms))
        if len(names) > 1:
            cells = [(task, row.name, *(_number(row.terms.get(name), ".3f") for name in names)) for row in own]
            tables.append((("task", "completions of", *(name.replace("_", " ") for name in names)), cells))
    return tables


def _interval(estimate: Estimate) -> str:
    spread = "" if estimate.low is None else f" [{estimate.low:.3f}, {estimate.high:.3f}]"
    return f"{estimate.value:.3f}{spread}"


def _number(value: float | None, form: str) -> str:
    # 0 is added, so that no tiny negative number becomes -0.0.
    return "-" if value is None else format(round(value, 3) + 0.0, form)


def _seconds(value: float | None) -> str:
    """Return seconds with a decimal where there are few."""
    return _number(value, ".1f" if value is not None and value < 10 else ",.0f")


def _chance_figure(
    ranked: Sequence[str], chances: Mapping[str, Estimate], algorithms: Sequence[str], is_matrix: bool
) -> str:
    """Draw probabilities of improvement, as a matrix or with intervals, pair by pair."""
    if is_matrix:
        return chance_matrix(ranked, chances)
    return intervals(chances, "probability of improvement", algorithms)


def _differences(records: Sequence[RunRecord]) -> list[str]:
    """Return in words where runs that a row sums up have other settings than one another."""
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        groups.setdefault((record.task, record.algorithm), []).append(record)
    return [
        f"{algorithm} on {task}: {name} is {', '.join(values)}"
        for (task, algorithm), runs in groups.items()
        for name, values in differing_settings(runs).items()
    ]


def _task(task: str, finished: Sequence[RunRecord], algorithms: Sequence[str]) -> dict[str, Any]:
    records = [record for record in finished if record.task == task]
    card = card_of(task)
    first = {name: runs[0] for name, runs in by_algorithm(records).items()}
    columns = {**_before(list(first.values())), **{name: run.samples for name, run in first.items()}}
    return {
        "id": task,
        "summary": card.summary.replace("`", "") if card else "",
        "reference_scores": card.reference_scores if card else {},
        "threshold": card.threshold if card else None,
        "curves": learning_curves(records, algorithms, card.threshold if card else None),
        "frontier": frontier(records, algorithms),
        "writers": list(columns),
        "completions": _side_by_side(columns),
    }


def _before(runs: Sequence[RunRecord]) -> dict[str, list[dict[str, Any]]]:
    """Return samples of a task's first model, by its name: of one that samples where one of the runs does."""
    run = next((run for run in runs if run.choice == "sampled"), runs[0])
    samples = [sample for sample in RunFolder(run.folder).read_samples() if sample["phase"] == "before"]
    name = BEFORE if run.choice == "sampled" else f"{BEFORE}, {run.choice}"
    return {name: samples} if samples else {}


def _side_by_side(columns: Mapping[str, Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the first prompts, each with the samples that go on from it, by the names of who wrote them."""
    lines = []
    for samples in zip_longest(*(samples[:ROWS_OF_COMPLETIONS] for samples in columns.values())):
        by_name = dict(zip(columns, samples, strict=True))
        shown = next(sample for sample in samples if sample is not None)
        # Runs that were evaluated on other prompts have nothing to compare.
        same = {name: one if one and one["prompt"] == shown["prompt"] else None for name, one in by_name.items()}
        lines.append({"prompt": shown["prompt"], "by_writer": same})
    return lines


def _seen(record: RunRecord) -> dict[str, Any]:
    return {
        "name": f"{record.task} · {record.algorithm} · seed {record.seed}",
        "completions": record.tokens_seen,
    }


def _hyperparameters(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Return the settings of each algorithm on each task, of its first run."""
    first: dict[tuple[str, str], RunRecord] = {}
    for record in records:
        first.setdefault((record.task, record.algorithm), record)
    return [
        {
            "name": f"{algorithm} on {task}",
            "settings": _settings_line(record.settings["algorithm"]),
            "yaml": yaml.safe_dump(record.settings, sort_keys=False, allow_unicode=True),
        }
        for (task, algorithm), record in first.items()
    ]


def _settings_line(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items() if name != "name" and value is not None)


def _sessions(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Return the different machines and versions that the runs ran on, with how many did."""
    counts: dict[str, dict[str, Any]] = {}
    for session in (session for record in records for session in record.sessions):
        packages = ", ".join(f"{name} {version}" for name, version in session["packages"].items() if version)
        machine = f"{session['device']}, {count(session['cores'], 'core')}, {count(session['torch_threads'], 'thread')}"
        about = f"{machine}; {session['platform']}; Python {session['python']}; {packages}"
        counts.setdefault(about, {"about": about, "n": 0})["n"] += 1
    return list(counts.values())
