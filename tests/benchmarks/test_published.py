"""The published comparison, on runs of seconds: searched, trained, tabled, drawn, and gone on with."""

import json
import shutil
from pathlib import Path

import pytest
import typer
import yaml

from textgym.benchmarks.learning.records import Choice
from textgym.benchmarks.learning.statistics import Estimate
from textgym.benchmarks.learning.summary import Row
from textgym.benchmarks.published import MARKS, main, readme_table

TASK = "TextGen-Copy-v0"


def row(task: str, algorithm: str, score: Estimate, choice: Choice = "sampled") -> Row:
    """One algorithm on one task."""
    return Row(task, algorithm, [1, 2], choice, 1000, 0.1, score, 1.0, 0, None, None)


def test_the_readme_has_a_row_an_algorithm_and_a_column_a_task() -> None:
    rows = [row("One", "PPO", Estimate(0.5, 0.4, 0.6)), row("Two", "PPO", Estimate(0.9, None, None)),
            row("Two", "DQN", Estimate(0.2, 0.1, 0.3), "best tokens")]  # fmt: skip
    assert readme_table(rows, {"PPO": Estimate(0.7, 0.6, 0.8)}).splitlines() == [
        "| algorithm | `One` | `Two` | all, normalised |",
        "| --- | ---: | ---: | ---: |",
        "| untrained, tokens sampled | 0.10 | 0.10 | - |",
        "| untrained, best tokens (DQN and its relatives) | - | 0.10 | - |",
        "| PPO | 0.50 (0.40, 0.60), 1 | 0.90, 1 | 0.70 (0.60, 0.80) |",
        "| DQN | - | 0.20 (0.10, 0.30), 1 | - |",
    ]


@pytest.mark.parametrize(
    ("tasks", "algorithms", "message"),
    [(f"{TASK},TextGen-Cpoy-v0", "PPO", "no task 'TextGen-Cpoy-v0'"), (TASK, "PPO,PPOO", "no algorithm 'PPOO'")],
)
def test_a_mistaken_name_is_told_before_anything_is_trained(
    tasks: str, algorithms: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit):
        main(tasks, algorithms, runs=tmp_path / "runs", results=tmp_path / "results", readme=tmp_path / "README.md")
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_settings_are_searched_once_and_runs_are_trained_once(tmp_path: Path) -> None:
    readme, results, runs = tmp_path / "README.md", tmp_path / "results", tmp_path / "runs"
    readme.write_text(f"before\n{MARKS[0]}\n{MARKS[1]}\nafter\n", encoding="utf-8")

    def compare() -> None:
        main(
            TASK, "PPO,A2C", seeds=1, trials=1, tokens=600, search_tokens=600, runs=runs, jobs=1, results=results,
            readme=readme,
        )  # fmt: skip

    tuned = results / "tuned" / TASK / "PPO.yaml"
    tuned.parent.mkdir(parents=True)
    tuned.write_text("algorithm: {name: PPO, learning_rate: 0.002}\n", encoding="utf-8")
    compare()
    record = json.loads((results / "published.json").read_text(encoding="utf-8"))
    assert [(run["algorithm"], run["seed"]) for run in record["runs"]] == [("PPO", 1), ("A2C", 1)]
    assert record["settings"][f"{TASK} PPO"]["learning_rate"] == 0.002
    found = yaml.safe_load(tuned.with_name("A2C.yaml").read_text(encoding="utf-8"))["algorithm"]
    assert record["settings"][f"{TASK} A2C"]["learning_rate"] == found["learning_rate"]
    for name in ("published", "published_curves", "published_kl"):
        assert (results / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert readme.read_text(encoding="utf-8").splitlines()[2] == f"| algorithm | `{TASK}` | all, normalised |"
    evaluations = {path: path.stat().st_mtime_ns for path in runs.glob("**/evaluation.json")}
    compare()
    assert {path: path.stat().st_mtime_ns for path in runs.glob("**/evaluation.json")} == evaluations
    assert len(evaluations) == 3

    # Another machine has the kept runs alone, and trains nothing.
    shutil.rmtree(runs)
    compare()
    assert len(list(runs.glob("**/evaluation.json"))) == 2
    assert not list(runs.glob("**/model.zip"))
    assert json.loads((results / "published.json").read_text(encoding="utf-8"))["runs"] == record["runs"]
    shutil.rmtree(runs)
    main(TASK, "PPO,A2C", seeds=1, trials=1, tokens=600, runs=runs, results=results, readme=readme, show=True)
    assert json.loads((results / "published.json").read_text(encoding="utf-8"))["runs"] == record["runs"]
