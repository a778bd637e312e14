"""The benchmark in miniature: two tasks, two algorithms, two seeds, and the report that is made of them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import run_command
from textgym.benchmarks.learning.page import write_report
from textgym.benchmarks.learning.records import RunRecord, find_records
from textgym.benchmarks.learning.summary import over_tasks, summarise

pytestmark = pytest.mark.slow
TASKS, ALGORITHMS = ("TextGen-Copy-v0", "TextGen-Reverse-v0"), ("A2C", "PPO")
OPTIONS = ("--tasks", ",".join(TASKS), "--algos", ",".join(ALGORITHMS), "--seeds", 2, "--tokens", 6000)


@pytest.fixture(scope="module")
def bench_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a benchmark that has ended. Not to be changed."""
    folder = tmp_path_factory.mktemp("bench")
    result = run_command("bench", *OPTIONS, "--output", folder)
    assert result.exit_code == 0, result.output
    assert "8 runs to do, 0 finished before" in result.output
    assert result.output.count("finished Text") == 8
    return folder


@pytest.fixture(scope="module")
def records(bench_folder: Path) -> list[RunRecord]:
    """Its runs."""
    return find_records([bench_folder])


def test_every_trained_model_is_above_the_untrained_one(records: list[RunRecord]) -> None:
    """Random tokens score 0.10, the untrained model 0.11; after 6,000 tokens each run is at least 0.05 above that."""
    assert {(one.task, one.algorithm, one.seed) for one in records} == {
        (task, algorithm, seed) for task in TASKS for algorithm in ALGORITHMS for seed in (1, 2)
    }
    for record in records:
        assert record.final_score > record.evaluation["before"]["score"] + 0.05, record.folder


def test_a_second_call_has_nothing_to_do(bench_folder: Path) -> None:
    result = run_command("bench", *OPTIONS, "--output", bench_folder)
    assert result.exit_code == 0, result.output
    assert "0 runs to do, 8 finished before" in result.output


def test_the_numbers_of_a_report_are_those_of_the_runs(records: list[RunRecord]) -> None:
    rows = summarise(records)
    assert [(row.task, row.algorithm, row.seeds) for row in rows] == [
        (task, algorithm, [1, 2]) for task in TASKS for algorithm in ALGORITHMS
    ]
    scores = [one.final_score for one in records[:2]]
    assert rows[0].score.value == pytest.approx(sum(scores) / 2)
    assert rows[0].score.low is not None
    assert min(scores) - 1e-9 <= rows[0].score.low <= rows[0].score.value
    means, chances = over_tasks(records)
    assert set(means) == set(ALGORITHMS)
    assert len(chances) == 1
    assert 0.5 <= next(iter(chances.values())).value <= 1


def test_the_page_needs_nothing_besides_itself_and_holds_every_token(records: list[RunRecord], tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    table = write_report(records, page)
    text = page.read_text(encoding="utf-8")
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', text) == []
    n_rows = len(TASKS) * len(ALGORITHMS)
    # Two tables, and an empty line between them; the second has sampled and greedy ones, also before training.
    assert len(table.read_text(encoding="utf-8").splitlines()) == 2 + n_rows + 1 + 2 + 2 * (n_rows + len(TASKS))
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    viewer: Any = json.loads(found[1])
    assert len(viewer) == 8
    one = viewer[0]["completions"][0]
    lengths = {len(one[name]) for name in ("tokens", "value", "advantage", "kl", "log_prob_ratio", "entropy")}
    assert lengths == {len(one["tokens"])}
    assert one["tokens"]


def test_a_report_of_the_command_line_lies_in_the_first_folder(bench_folder: Path) -> None:
    result = run_command("report", bench_folder)
    assert result.exit_code == 0, result.output
    assert "| TextGen-Copy-v0 | A2C | 2 |" in result.output
    assert (bench_folder / "report.html").is_file()
    assert (bench_folder / "report.md").is_file()
