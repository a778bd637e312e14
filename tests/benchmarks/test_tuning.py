"""The search for settings: what is tried, what a second call goes on with, and what is written of the best."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from tests.agents.tiny import exactly
from tests.cli.conftest import run_command
from textgym.benchmarks.learning.grid import GridRun, read_grid
from textgym.benchmarks.learning.pool import RunPool
from textgym.benchmarks.learning.search_space import SPACE, TRPO_SPACE, Range, default_settings, search_space, suggest
from textgym.benchmarks.learning.state import command_of
from textgym.training.algorithms import ALGORITHMS, A2CSettings
from textgym.training.settings_file import build_settings, read_settings

optuna = pytest.importorskip("optuna", reason="needs the extra tune")
COPY = "TextGen-Copy-v0"


def make_search(folder: Path, **changes: Any) -> Any:
    from textgym.benchmarks.learning.tuning import Search

    return Search(**{"task": COPY, "algorithm": "A2C", "folder": folder, "total_tokens": 300, **changes})


def pretend_finished(run: GridRun, score: float) -> None:
    """Write what a run that has ended leaves."""
    run.folder.mkdir(parents=True)
    (run.folder / "config.yaml").write_text("seed: 1\n", encoding="utf-8")
    (run.folder / "evaluation.json").write_text(
        json.dumps({"after": {"tokens": run.total_tokens, "score": score}}), encoding="utf-8"
    )


def nothing(*_: object) -> None:
    """Show nothing."""


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_is_searched_for_settings_that_it_has(name: str) -> None:
    space = search_space(ALGORITHMS[name])
    assert "learning_rate" in space
    assert len(space) >= 2 or name in ("REINFORCE", "RLOO")
    fixed = {key: values.low if isinstance(values, Range) else values.values[0] for key, values in space.items()}
    suggested = suggest(optuna.trial.FixedTrial(fixed), ALGORITHMS[name])
    assert suggested == fixed
    built = build_settings({"algorithm": {"name": name, **suggested}}).algorithm
    assert {key: getattr(built, key) for key in fixed} == fixed


def test_a_search_begins_with_the_settings_that_there_are_without_one(tmp_path: Path) -> None:
    search = make_search(tmp_path)
    study = search.open()
    found = [search.propose(study)[1] for _ in range(2)]
    defaults = build_settings({"task": {"name": COPY}, "algorithm": {"name": "A2C"}}).algorithm
    assert isinstance(defaults, A2CSettings)
    assert found[0] == {"learning_rate": defaults.learning_rate, "gae_lambda": defaults.gae_lambda}
    assert found[1] != found[0]
    # Opened again it is not asked for a second time.
    assert search.propose(search.open())[1] != found[0]


def test_a_default_that_is_not_in_the_space_is_left_to_the_search() -> None:
    settings = build_settings({"algorithm": {"name": "PPO", "learning_rate": 0.5, "n_epochs": 3}}).algorithm
    assert default_settings(settings).keys() == {"clip_range", "gae_lambda"}


def test_what_is_searched_is_never_the_worth_of_kl() -> None:
    assert not {"kl_coef", "kl_target"} & {*SPACE, *TRPO_SPACE}


def test_a_search_that_was_stopped_goes_on_with_the_trial_that_it_had_begun(tmp_path: Path) -> None:
    from textgym.benchmarks.learning.tuning import tune

    search = make_search(tmp_path)
    number, settings = search.propose(search.open())
    first, second = search.runs(number, settings)
    assert (first.seed, second.seed) == (101, 102)
    assert first.folder == tmp_path / COPY / "trial-0" / "seed-101"
    pretend_finished(first, 0.4)
    pretend_finished(second, 0.6)
    reported: list[Any] = []
    study = tune(search, 1, 1, 1, nothing, lambda *one: reported.append(one))
    assert reported == [(0, settings, 0.5)]
    assert (study.best_value, study.best_params) == (0.5, settings)
    best = read_settings(search.best_file, {})
    assert (
        best.algorithm == build_settings({"task": {"name": COPY}, "algorithm": {"name": "A2C", **settings}}).algorithm
    )
    assert best.total_tokens == 300
    # Nothing is left to do for a third call.
    assert tune(search, 1, 1, 1, nothing, nothing).best_value == 0.5


class PretendedPool(RunPool):
    """Trains nothing: a run's score follows from its learning rate. The first run of one trial is interrupted."""

    interrupted = -1

    def run(self, look: Callable[[RunPool], None]) -> None:
        for run in self._waiting:
            if run.algorithm == f"trial-{PretendedPool.interrupted}":
                PretendedPool.interrupted = -1
                raise KeyboardInterrupt
            pretend_finished(run, round(-abs(math.log(run.settings["algorithm"]["learning_rate"] / 1e-3)), 1))


def searched(folder: Path, n_trials: int, jobs: int) -> list[dict[str, Any]]:
    """Search with one run a trial, and return the settings of all trials that the study has then."""
    from textgym.benchmarks.learning.tuning import tune

    study = tune(make_search(folder, algorithm="PPO", n_seeds=1), n_trials, jobs, 1, nothing, nothing)
    return [trial.params for trial in study.trials]


N_TRIALS = 14  # The first 10 are drawn at random, those after them from what was measured.


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_search_that_was_interrupted_proposes_what_it_would_have(
    jobs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textgym.benchmarks.learning.tuning.RunPool", PretendedPool)
    expected = searched(tmp_path / "at once", N_TRIALS, jobs)
    for number in (0, 3, 7, 12):
        monkeypatch.setattr(PretendedPool, "interrupted", number)
        with pytest.raises(KeyboardInterrupt):
            searched(tmp_path / "in parts", N_TRIALS, jobs)
    assert searched(tmp_path / "in parts", N_TRIALS, jobs) == expected


def test_a_search_for_more_trials_repeats_none_of_the_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textgym.benchmarks.learning.tuning.RunPool", PretendedPool)
    for n_trials in (3, 4, 6, N_TRIALS):
        found = searched(tmp_path / "in parts", n_trials, 1)
    assert len({tuple(settings.values()) for settings in found}) == N_TRIALS
    assert searched(tmp_path / "at once", N_TRIALS, 1) == found


def test_a_benchmark_takes_what_was_written(tmp_path: Path) -> None:
    best = tmp_path / "best.yaml"
    best.write_text(yaml.safe_dump({"algorithm": {"name": "A2C", "learning_rate": 0.002}}), encoding="utf-8")
    grid = read_grid(None, {"tasks": [COPY], "algorithms": ["PPO", str(best)], "seeds": 1})
    assert [run.algorithm for run in grid.runs(tmp_path)] == ["PPO", "A2C"]
    assert grid.runs(tmp_path)[1].settings["algorithm"] == {"name": "A2C", "learning_rate": 0.002}
    best.write_text("seed: 1\n", encoding="utf-8")
    message = f"{best} has no settings of an algorithm: expected a mapping under 'algorithm'."
    with pytest.raises(ValueError, match=exactly(message)):
        read_grid(None, {"tasks": [COPY], "algorithms": [str(best)]})


def test_wrong_names_get_one_line_and_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run_command("tune", "--task", COPY, "--algo", "PPQ")
    assert result.exit_code == 2
    assert "There is no algorithm 'PPQ'" in result.stderr
    assert not list(tmp_path.iterdir())


class PoolInThisProcess(RunPool):
    """Trains with the commands of a `RunPool`, without starting an interpreter for each, which takes most of the time.

    That runs are processes of their own is tested with `textgym bench`.
    """

    def run(self, look: Callable[[RunPool], None]) -> None:
        for run in self._waiting:
            assert run_command(*command_of(run)).exit_code == 0
            self.succeeded.append(run)


def test_a_search_trains_writes_the_best_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("textgym.benchmarks.learning.tuning.RunPool", PoolInThisProcess)
    options = ("--task", COPY, "--algo", "A2C", "--seeds", 1, "--tokens", 300, "--output", "search")
    result = run_command("tune", *options, "--trials", 1)
    assert result.exit_code == 0, result.output
    assert "learning_rate        3e-05 to 0.003" in result.output
    assert "trial   0: score 0." in result.output
    again = run_command("tune", *options, "--trials", 2)
    assert again.exit_code == 0, again.output
    assert "trial   0" not in again.output
    assert "trial   1: score 0." in again.output
    assert yaml.safe_load(Path("search/best.yaml").read_text(encoding="utf-8"))["algorithm"]["name"] == "A2C"


def test_trials_whose_runs_fail_are_told_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from textgym.benchmarks.learning.tuning import n_done, tune

    # Runs end without having written anything.
    monkeypatch.setattr(RunPool, "run", nothing)
    reported: list[Any] = []
    study = tune(make_search(tmp_path), 2, 1, 1, nothing, lambda *one: reported.append(one))
    assert [(number, value) for number, _, value in reported] == [(0, None), (1, None)]
    assert n_done(study) == 0
    assert not (tmp_path / "best.yaml").exists()


TUNE = ("tune", "--task", COPY, "--algo", "A2C", "--trials", 1, "--output", "search")
HELD = f"'{COPY} A2C 300 tokens, 1 seeds'"


@pytest.mark.parametrize(
    ("options", "other"),
    [
        (("--seeds", 1, "--tokens", 200), f"{COPY} A2C 200 tokens, 1 seeds"),
        (("--seeds", 2, "--tokens", 300), f"{COPY} A2C 300 tokens, 2 seeds"),
        (("--seeds", 1, "--tokens", 300, "--algo", "PPO"), f"{COPY} PPO 300 tokens, 1 seeds"),
    ],
)
def test_a_folder_is_not_searched_with_another_budget(
    options: tuple[object, ...], other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_search(Path("search"), n_seeds=1).open()
    Path("search/best.yaml").write_text("algorithm: {name: A2C}\n", encoding="utf-8")
    refused = run_command(*TUNE, *options)
    assert (refused.exit_code, refused.stderr) == (
        2,
        f"Error: search holds the search {HELD}, and this one is '{other}'; give it another --output.\n",
    )
    assert Path("search/best.yaml").read_text(encoding="utf-8") == "algorithm: {name: A2C}\n"


def test_a_study_that_is_none_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("search").mkdir()
    Path("search/study.db").write_text("no database, but long enough to be taken for one", encoding="utf-8")
    refused = run_command(*TUNE)
    message = "is no study of an earlier search (file is not a database); delete it, or give another --output."
    assert (refused.exit_code, refused.stderr) == (2, f"Error: search/study.db {message}\n")


def test_a_trials_folder_with_a_run_of_another_search_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    search = make_search(Path("search"), n_seeds=1)
    options = ("--seeds", 1, "--tokens", 300)
    settings = default_settings(build_settings({"task": {"name": COPY}, "algorithm": {"name": "A2C"}}).algorithm)
    run = search.runs(0, settings)[0]
    pretend_finished(run, 0.5)
    (run.folder / "config.yaml").write_text("total_tokens: 1000\n", encoding="utf-8")
    refused = run_command(*TUNE, *options)
    message = "was trained with 1,000 tokens, this search has 300; give it another --output, or delete that folder."
    assert (refused.exit_code, refused.stderr) == (2, f"Error: The run in {run.folder} {message}\n")
    run.config.write_text("algorithm: {name: A2C, learning_rate: 1}\n", encoding="utf-8")
    refused = run_command(*TUNE, *options)
    assert refused.exit_code == 2
    assert refused.stderr.startswith(f"Error: The run in {run.folder} was begun with other settings (algorithm, ")


def test_a_second_search_in_one_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with FileLock("search/.lock"):
        refused = run_command(*TUNE)
    assert (refused.exit_code, refused.stderr) == (
        2,
        "Error: Another textgym tune is at work in search; wait until that has ended, or give another --output.\n",
    )
    assert [path.name for path in Path("search").iterdir()] == [".lock"]


def test_the_best_of_one_trial_over_one_seed_is_no_plural(tmp_path: Path) -> None:
    search = make_search(tmp_path, n_seeds=1)
    study = search.open()
    number, _ = search.propose(study)
    study.tell(number, 0.5)
    search.write_best(study)
    about = "# The best of 1 trial, with a score of 0.500 over 1 seed.\n"
    assert search.best_file.read_text(encoding="utf-8").startswith(about)
