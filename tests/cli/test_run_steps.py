"""Steps of a run by themselves: what its greedy evaluation follows from, and which samples a resumed run keeps."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import Result

from textgym.training.run import _evaluate, _open_folder, prepare
from textgym.training.run_folder import RunFolder
from textgym.training.settings_file import read_settings


@pytest.fixture(autouse=True)
def own_rewards(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Python find the user's rewards, as the command line does."""
    monkeypatch.syspath_prepend(workplace)


def figures(workplace: Path, seed: int) -> dict[str, Any]:
    """Evaluate an untrained model."""
    settings = read_settings(workplace / "settings.yaml", {"evaluation.eval_seed": seed})
    run = prepare(settings, RunFolder(workplace / f"run_{seed}"))
    run.folder.path.mkdir()
    _evaluate(run, "before", Console(quiet=True))
    return dict(run.folder.read_evaluation()["before"])


def test_greedy_completions_do_not_depend_on_the_seed_of_the_evaluation(workplace: Path) -> None:
    one, other = figures(workplace, 1), figures(workplace, 2)
    assert one["score"] != other["score"]
    names = [name for name in one if "greedy" in name]
    assert names
    assert [one[name] for name in names] == [other[name] for name in names]


def test_samples_of_tokens_after_the_checkpoint_are_dropped_where_a_run_goes_on(
    finished_run: tuple[Path, Result], workplace: Path
) -> None:
    shutil.copytree(finished_run[0], workplace / "run")
    folder = RunFolder(workplace / "run")
    before = [one for one in folder.read_samples() if one["phase"] != "after"]
    run = prepare(folder.read_settings({"total_tokens": 1000}), folder)
    last = {**before[-1], "phase": "training"}
    n_tokens = run.model.num_timesteps
    folder.add_samples([{**last, "tokens": n_tokens}, {**last, "tokens": n_tokens + 1}])
    _open_folder(run)
    run.model.logger.close()
    assert folder.read_samples() == [*before, {**last, "tokens": n_tokens}]
