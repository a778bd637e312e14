"""Runs that are gone on with at awkward moments: nothing is lost, and what is missing is made."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from typer.testing import Result

from tests.cli.conftest import run_command
from tests.cli.test_train import assert_equal_runs


@pytest.mark.parametrize("missing", ["tokens.jsonl", "curves.png"])
def test_a_run_that_was_stopped_after_its_evaluation_can_be_finished(
    finished_run: tuple[Path, Result], workplace: Path, missing: str
) -> None:
    shutil.copytree(finished_run[0], workplace / "run")
    (workplace / "run" / missing).unlink()
    result = run_command("train", "--resume", "run")
    assert result.exit_code == 0, result.output
    assert (workplace / "run" / missing).is_file()
    assert_equal_runs(workplace / "run", finished_run[0])
    again = run_command("train", "--resume", "run")
    assert again.exit_code == 2
    assert "Error: The run in run is complete, with " in again.stderr


def test_a_run_whose_first_model_was_written_anew_keeps_what_it_has(workplace: Path, tiny_model: Path) -> None:
    shutil.copytree(tiny_model, workplace / "first")
    arguments = ("--config", "settings.yaml", "--model", "first", "--output", "run", "--steps", 100)
    assert run_command("train", *arguments).exit_code == 0
    before = {path.name: path.read_bytes() for path in (workplace / "run").iterdir() if path.is_file()}
    model: Any = AutoModelForCausalLM.from_pretrained(workplace / "first")
    with torch.no_grad():
        model.transformer.ln_f.bias.add_(0.1)
    model.save_pretrained(workplace / "first")
    result = run_command("train", "--resume", "run", "--steps", 200)
    assert result.exit_code == 2
    assert result.stderr == (
        f"Error: The reference model '{workplace / 'first'}' is not the one that training began with, since what is "
        "there was written anew. Put it back to go on with the run, or begin another one with --model run.\n"
    )
    assert {path.name: path.read_bytes() for path in (workplace / "run").iterdir() if path.is_file()} == before


def test_an_error_in_the_wake_of_an_interrupt_is_a_stop(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's writer raises one of its own where a second Ctrl-C interrupts it."""

    def save(*_: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise RuntimeError("unexpected pos")  # noqa: B904 (as a context manager's exit does)

    monkeypatch.setattr("textgym.training.run.save_checkpoint", save)
    result = run_command("train", "--config", "settings.yaml", "--output", "run")
    assert result.exit_code == 130
    assert result.stderr.startswith("Stopped; run holds what was saved. Go on with: textgym train --resume run\n")
