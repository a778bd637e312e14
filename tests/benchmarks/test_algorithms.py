"""The table of all algorithms: from real runs of two of them, and what it says of runs that are not there."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from textgym.benchmarks.algorithms import MARKS, TASK, main, markdown_table, report
from textgym.benchmarks.readme import README, write_into_readme


def row(algorithm: str, seed: int, score: float, seconds: float | None = 90.0) -> dict[str, Any]:
    """One run's figures."""
    return {
        "algorithm": algorithm, "seed": seed, "tokens": 1234, "seconds": seconds, "score_before": 0.25, "score": score,
        "keywords": 0.5, "banned_words": 0.01, "length_inside": 0.9, "kl": 12.34, "distinct_2_ratio": 0.8,
    }  # fmt: skip


def test_an_algorithm_is_a_row_of_means_with_the_scores_range() -> None:
    lines = markdown_table([row("PPO", 1, 0.5), row("PPO", 2, 0.8, 30.0), row("DQN", 1, 0.3, None)]).splitlines()
    assert lines[0].startswith("| algorithm | score before | score after (lowest, highest) |")
    assert lines[1] == "|" + " --- |" + " ---: |" * 8
    assert lines[2:] == [
        "| PPO | 0.25 | 0.65 (0.50, 0.80) | 0.50 | 1.0% | 90% | 12.3 | 80% | 1.0 |",
        "| DQN | 0.25 | 0.30 (0.30, 0.30) | 0.50 | 1.0% | 90% | 12.3 | 80% | - |",
    ]


def test_the_readme_has_a_place_for_it(tmp_path: Path) -> None:
    copy = tmp_path / "README.md"
    copy.write_text(README.read_text(encoding="utf-8"), encoding="utf-8")
    write_into_readme("new", MARKS, copy)
    assert f"{MARKS[0]}\nnew\n{MARKS[1]}" in copy.read_text(encoding="utf-8")


def test_a_folder_without_runs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        main(runs=tmp_path, results=tmp_path, show=True)
    assert capsys.readouterr().err.startswith(f"Error: There is no run in {tmp_path}")


@pytest.mark.slow
def test_runs_that_are_finished_are_shown_and_the_others_named(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = {"prompts": [{"prompt": "The sea", "topic": "water"}], "max_new_tokens": 8}
    settings = {"model": str(tiny_model), "task": task, "evaluation": {"eval_completions": 6}}
    algorithms = [{"name": "DQN", "learning_starts": 20}, {"name": "REINFORCE", "tokens_per_rollout": 50}]
    grid = {"tasks": [TASK], "algorithms": algorithms, "seeds": 1, "total_tokens": 100, "settings": settings}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid), encoding="utf-8")
    (tmp_path / "README.md").write_text("\n".join(MARKS), encoding="utf-8")
    folder = tmp_path / "runs"

    def run(show: bool) -> None:
        main(
            seeds=1,
            tokens=100,
            runs=folder,
            threads=1,
            grid=tmp_path / "grid.yaml",
            results=tmp_path,
            readme=tmp_path / "README.md",
            show=show,
        )

    run(show=False)
    assert "| REINFORCE |" in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert len(json.loads((tmp_path / "algorithms.json").read_text(encoding="utf-8"))["rows"]) == 2
    finished, unfinished, text = report(folder)
    assert [run.algorithm for run in finished] == ["REINFORCE", "DQN"]
    assert not unfinished
    assert "REINFORCE | learning_rate " in text
    assert "candidates 20" in text
    capsys.readouterr()
    # What was kept stands for the runs on a machine that has none of them.
    shutil.rmtree(folder)
    run(show=True)
    assert "| DQN |" in capsys.readouterr().out
    (folder / TASK / "DQN" / "seed-1" / "evaluation.json").unlink()
    run(show=True)
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1] == "Not finished: DQN seed 1."
    assert "| REINFORCE |" in shown
    assert "| DQN |" not in shown
