"""The benchmark's runner: which runs there are, what a second call does, and what a failure stops."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from tests.agents.tiny import exactly
from tests.cli.conftest import run_command
from textgym.benchmarks.learning.display import BenchmarkDisplay
from textgym.benchmarks.learning.grid import Grid, GridRun, read_grid
from textgym.benchmarks.learning.pool import RunPool
from textgym.benchmarks.learning.state import command_of, progress_of, state_of

COPY, REVERSE = "TextGen-Copy-v0", "TextGen-Reverse-v0"
DIFFER = "of a benchmark must differ, got"
LABELS = "Give each a label of its own, such as tuned=best.yaml."


def a_run(folder: Path, **changes: Any) -> GridRun:
    return Grid([COPY], ["PPO"], [1], **{"total_tokens": 100, **changes}).runs(folder)[0]


def pretend_begun(run: GridRun, tokens: int | None) -> None:
    """Write what a run of that many evaluated tokens leaves; None for one that was stopped before."""
    command_of(run)
    run.folder.mkdir(parents=True)
    (run.folder / "config.yaml").write_text("seed: 1\n", encoding="utf-8")
    if tokens is not None:
        evaluation = {"before": {"tokens": 0}, "after": {"tokens": tokens}}
        (run.folder / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")


def test_runs_are_all_tasks_with_all_algorithms_seed_by_seed(tmp_path: Path) -> None:
    slow = {"name": "PPO", "learning_rate": 1e-5, "label": "slow"}
    grid = Grid([COPY, REVERSE], ["PPO", slow], [1, 2], 500, {"algorithm": {"gamma": 0.9}, "device": "cpu"})
    runs = grid.runs(tmp_path)
    assert [(run.seed, run.task, run.algorithm) for run in runs[:5]] == [
        (1, COPY, "PPO"), (1, COPY, "slow"), (1, REVERSE, "PPO"), (1, REVERSE, "slow"), (2, COPY, "PPO"),
    ]  # fmt: skip
    assert len(runs) == 8
    assert runs[1].settings == {
        "algorithm": {"gamma": 0.9, "name": "PPO", "learning_rate": 1e-5},
        "device": "cpu", "seed": 1, "task": {"name": COPY}, "total_tokens": 500,
    }  # fmt: skip
    assert runs[1].folder == tmp_path / COPY / "slow" / "seed-1"


def test_without_tokens_each_run_has_its_tasks(tmp_path: Path) -> None:
    assert a_run(tmp_path, total_tokens=None).total_tokens == 30_000


@pytest.mark.parametrize(
    ("tasks", "algorithms", "seeds", "message"),
    [
        ([], ["PPO"], [1], "tasks must have at least one entry, got none; give --tasks, or a grid's tasks."),
        ([COPY], [], [1], "algorithms must have at least one entry, got none; give --algos, or a grid's algorithms."),
        ([COPY], ["PPO"], [], "seeds must have at least one entry, got none; give --seeds, or a grid's seeds."),
        ([COPY, COPY], ["PPO"], [1], f"The tasks {DIFFER} '{COPY}' twice."),
        ([COPY], ["PPO", {"name": "PPO"}], [1], f"The algorithms {DIFFER} 'PPO' twice. {LABELS}"),
        ([COPY], [{"gamma": 1}], [1], "An algorithm of a benchmark must be a name or have one, got {'gamma': 1}."),
    ],
)  # fmt: skip
def test_a_grid_that_makes_no_sense_is_refused(tasks: Any, algorithms: Any, seeds: Any, message: str) -> None:
    with pytest.raises(ValueError, match=exactly(message)):
        Grid(tasks, algorithms, seeds)


def test_a_grid_is_read_from_a_file_and_the_command_line_goes_before_it(tmp_path: Path) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(f"tasks: [{COPY}]\nseeds: [3, 5]\nalgorithms: [A2C]\n", encoding="utf-8")
    grid = read_grid(file, {"algorithms": ["PPO"], "total_tokens": 9})
    assert grid == Grid([COPY], ["PPO"], [3, 5], 9)
    assert read_grid(None, {"tasks": [COPY], "seeds": 2}).seeds == [1, 2]
    file.write_text("task: [a]\n", encoding="utf-8")
    with pytest.raises(ValueError, match="has the key 'task'; expected some of tasks, algorithms"):
        read_grid(file, {})


def test_one_task_or_algorithm_in_a_grid_needs_no_list(tmp_path: Path) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(f"tasks: {COPY}\nalgorithms: PPO\nseeds: 1\n", encoding="utf-8")
    assert read_grid(file, {}) == Grid([COPY], ["PPO"], [1])
    file.write_text(f"tasks: {COPY}\nalgorithms: {{name: PPO, gamma: 0.5}}\nseeds: [0, 7]\n", encoding="utf-8")
    assert read_grid(file, {}) == Grid([COPY], [{"name": "PPO", "gamma": 0.5}], [0, 7])


TASKS_EXPECTED = "tasks must be a list of ids of tasks, got"
ALGORITHMS_EXPECTED = "algorithms must be a list of names, YAML files, or mappings of settings with a name, got"
SEEDS_EXPECTED = "seeds must be a number of seeds from 1 on, or a list of whole numbers, got"
MAPPING_EXPECTED = "must be a mapping of settings to values, got"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("tasks: 3", f"{TASKS_EXPECTED} 3."),
        ("tasks: [3]", f"{TASKS_EXPECTED} [3]."),
        ("tasks:", f"{TASKS_EXPECTED} None."),
        ("algorithms: [5]", f"{ALGORITHMS_EXPECTED} [5]."),
        ("algorithms:", f"{ALGORITHMS_EXPECTED} None."),
        ("seeds: 1.5", f"{SEEDS_EXPECTED} 1.5."),
        ("seeds: true", f"{SEEDS_EXPECTED} True."),
        ("seeds: abc", f"{SEEDS_EXPECTED} 'abc'."),
        ("seeds: 0", f"{SEEDS_EXPECTED} 0."),
        ("seeds: [1, true]", f"{SEEDS_EXPECTED} [1, True]."),
        ("settings: 3", f"settings {MAPPING_EXPECTED} 3."),
        ("settings: {task: TextGen-Copy-v0}", f"settings.task {MAPPING_EXPECTED} 'TextGen-Copy-v0'."),
        ("settings: {algorithm: PPO}", f"settings.algorithm {MAPPING_EXPECTED} 'PPO'."),
    ],
)
def test_a_value_of_another_kind_in_a_grid_is_one_error(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(f"{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=exactly(f"{file}: {message}")):
        read_grid(file, {"tasks": [COPY]} if "tasks" not in line else {})


@pytest.mark.parametrize("label", ["../../x", "a/b", "a\\b", "..", ".", "", " ", None, [1]])
def test_a_label_that_leads_out_of_the_folder_is_refused(label: Any) -> None:
    message = (
        f"The label of an algorithm names its folder: it must be text without / and \\, and not .., got {label!r}."
    )
    with pytest.raises(ValueError, match=exactly(message)):
        Grid([COPY], [{"name": "PPO", "label": label}], [1])


def test_labels_stand_before_names_and_files_where_one_algorithm_comes_twice(tmp_path: Path) -> None:
    best = tmp_path / "lr=2" / "best.yaml"
    best.parent.mkdir()
    best.write_text("algorithm: {name: A2C, learning_rate: 0.002}\n", encoding="utf-8")
    algorithms = ["A2C", f"tuned={best}", "again=A2C"]
    runs = read_grid(None, {"tasks": [COPY], "algorithms": algorithms, "seeds": 1}).runs(tmp_path)
    assert [run.algorithm for run in runs] == ["A2C", "tuned", "again"]
    assert [run.settings["algorithm"] for run in runs] == [
        {"name": "A2C"}, {"name": "A2C", "learning_rate": 0.002}, {"name": "A2C"},
    ]  # fmt: skip
    assert runs[1].folder == tmp_path / COPY / "tuned" / "seed-1"
    unlabelled = read_grid(None, {"tasks": [COPY], "algorithms": [str(best)], "seeds": 1})
    assert unlabelled.runs(tmp_path)[0].algorithm == "A2C", "an = in a folder's name begins no file"
    with pytest.raises(ValueError, match="names its folder"):
        read_grid(None, {"tasks": [COPY], "algorithms": [f"={best}"]})


def test_a_file_of_an_algorithm_brings_its_policy(tmp_path: Path) -> None:
    deep, flat = tmp_path / "deep.yaml", tmp_path / "flat.yaml"
    deep.write_text("algorithm: {name: A2C}\npolicy: {frozen_layers: 2}\ntotal_tokens: 7\n", encoding="utf-8")
    flat.write_text("algorithm: {name: A2C}\npolicy: shared\n", encoding="utf-8")
    given = {"tasks": [COPY], "algorithms": ["A2C", f"deep={deep}"], "seeds": 1, "settings": {"device": "cpu"}}
    plain, frozen = read_grid(None, given).runs(tmp_path)
    assert "policy" not in plain.settings
    assert frozen.settings["policy"] == {"frozen_layers": 2}
    assert frozen.settings["algorithm"] == {"name": "A2C"}
    given["settings"] = {"policy": {"frozen_layers": 1, "autocast": "bfloat16"}}
    plain, frozen = read_grid(None, given).runs(tmp_path)
    assert plain.settings["policy"] == {"frozen_layers": 1, "autocast": "bfloat16"}
    assert frozen.settings["policy"] == {"frozen_layers": 2, "autocast": "bfloat16"}
    with pytest.raises(ValueError, match=rf"{flat}: algorithm 'A2C': policy must be a mapping of settings to values"):
        read_grid(None, {**given, "algorithms": [str(flat)]}).runs(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 9}, "settings.seed of a benchmark must be left out; give it under seeds."),
        ({"task": {"name": COPY}}, "settings.task.name of a benchmark must be left out; give it under tasks."),
        ({"algorithm": {"name": "A2C"}},
         "settings.algorithm.name of a benchmark must be left out; give it under algorithms."),
    ],
)  # fmt: skip
def test_settings_that_the_grid_decides_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=exactly(message)):
        Grid([COPY], ["PPO"], [1], settings=settings)


def test_an_own_setting_that_is_invalid_is_told_with_its_label_and_file(tmp_path: Path) -> None:
    file, tuned = tmp_path / "grid.yaml", tmp_path / "tuned.yaml"
    text = f"tasks: {COPY}\nalgorithms:\n- PPO\n- {{name: PPO, label: small, batch_size: 0}}\n"
    file.write_text(text, encoding="utf-8")
    wrong = "batch_size must be at least 2, got 0."
    with pytest.raises(ValueError, match=exactly(f"{file}: algorithm 'small': {wrong}")):
        read_grid(file, {}).runs(tmp_path)
    tuned.write_text("algorithm: {name: PPO, batch_size: 0}\n", encoding="utf-8")
    for given, label in ((str(tuned), "PPO"), (f"other={tuned}", "other")):
        with pytest.raises(ValueError, match=exactly(f"{tuned}: algorithm {label!r}: {wrong}")):
            read_grid(file, {"algorithms": [given]}).runs(tmp_path)
    with pytest.raises(ValueError, match=exactly(f"algorithm 'small': {wrong}")):
        Grid([COPY], [{"name": "PPO", "label": "small", "batch_size": 0}], [1]).runs(tmp_path)
    result = run_command("bench", "--grid", file, "--output", tmp_path / "bench")
    assert (result.exit_code, result.stderr) == (2, f"Error: {file}: algorithm 'small': {wrong}\n")


def test_what_is_wrong_with_every_run_is_not_laid_to_one_entry(tmp_path: Path) -> None:
    small = {"name": "PPO", "label": "small", "n_epochs": 1}
    with pytest.raises(ValueError, match=exactly("batch_size must be at least 2, got 0.")):
        Grid([COPY], [small], [1], settings={"algorithm": {"batch_size": 0}}).runs(tmp_path)
    with pytest.raises(ValueError, match=r"^total_tokens must be at least 1, got 0\.$"):
        Grid([COPY], [small], [1], 0).runs(tmp_path)


def test_a_finished_run_is_skipped_a_begun_one_is_gone_on_with(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    assert state_of(run) == "new"
    assert command_of(run) == ["train", "--config", str(run.config), "--output", str(run.folder)]
    assert yaml.safe_load(run.config.read_text(encoding="utf-8")) == run.settings
    pretend_begun(run, None)
    assert state_of(run) == "begun"
    assert command_of(run) == ["train", "--resume", str(run.folder), "--total-tokens", "100"]
    (run.folder / "evaluation.json").write_text('{"after": {"tokens": 104}}', encoding="utf-8")
    assert state_of(run) == "finished"
    assert state_of(a_run(tmp_path, total_tokens=200)) == "begun"
    assert progress_of(run) == (0, None)


def test_a_run_that_was_begun_with_other_settings_is_refused(tmp_path: Path) -> None:
    pretend_begun(a_run(tmp_path), 100)
    other = a_run(tmp_path, settings={"algorithm": {"gamma": 0.5}})
    message = f"The run in {other.folder} was begun with other settings (algorithm: see {other.config}); give the "
    with pytest.raises(ValueError, match=re.escape(message)):
        state_of(other)


def test_what_was_killed_before_it_saved_anything_is_begun_again(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    run.folder.mkdir(parents=True)
    (run.folder / "config.yaml.partial").write_text("seed", encoding="utf-8")
    assert command_of(run)[1] == "--config"
    assert not run.folder.exists()


def test_a_failed_run_does_not_stop_the_others_and_is_named(tmp_path: Path) -> None:
    """Run in processes of their own, which begin with a wrong setting and end at once."""
    broken = a_run(tmp_path, settings={"device": "toaster"})
    also = Grid([REVERSE], ["PPO"], [1], 100, {"device": "toaster"}).runs(tmp_path)[0]
    pool = RunPool([broken, also], jobs=2, threads=1)
    looks: list[int] = []
    pool.run(lambda one: looks.append(len(one.working)))
    assert pool.succeeded == []
    assert {failure.run.task for failure in pool.failures} == {COPY, REVERSE}
    assert all(failure.exit_code == 2 and "'toaster'" in failure.reason for failure in pool.failures)
    assert looks[-1] == 0
    assert max(looks) == 2


def test_wrong_input_gets_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run_command("bench", "--tasks", f"{COPY},TextGen-Revers-v0")
    assert result.exit_code == 2
    assert "Did you mean 'TextGen-Reverse-v0'?" in result.stderr
    assert not list(tmp_path.iterdir())


def test_what_is_working_when_a_benchmark_is_stopped_is_called_stopped_and_has_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = RunPool([a_run(tmp_path)], jobs=1, threads=1)
    display = BenchmarkDisplay(Console(width=100), 1)

    def stop(one: RunPool) -> None:
        display.look(one)
        if one.working:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pool.run(stop)
    display.look(pool)
    assert pool.working == []
    assert capsys.readouterr().out.splitlines() == [
        "begun    TextGen-Copy-v0 PPO seed 1", "stopped  TextGen-Copy-v0 PPO seed 1",
    ]  # fmt: skip
