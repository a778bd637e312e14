"""Devices are found by name, and one that is not there is refused before anything is made."""

from pathlib import Path

import gymnasium as gym
import pytest
import torch

import textgym  # noqa: F401  (registers the ids)
from tests.cli.conftest import run_command
from textgym.devices import find_device


def test_devices_are_found_by_name() -> None:
    assert find_device("cpu") == torch.device("cpu")
    assert find_device(torch.device("cpu")) == torch.device("cpu")
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", 3.5])
def test_a_name_that_torch_does_not_know_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"^device must be 'auto', 'cpu', 'cuda' or another .* got {name!r}.$"):
        find_device(name)


def test_an_environment_on_a_device_that_is_not_there_is_refused() -> None:
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ValueError, match=f"^device '{missing}' is not there: .*Choose 'cpu' or 'auto'"):
        gym.make("TextGen-v0", device=missing)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpux", "Error: device must be 'auto', 'cpu', 'cuda' or another of torch's devices, got 'gpux'."),
        (f"cuda:{torch.cuda.device_count()}", "is not there: torch"),
    ],
)
def test_a_run_on_a_device_that_is_not_there_leaves_nothing(
    tmp_path: Path, tiny_model: Path, device: str, message: str
) -> None:
    refused = run_command(
        "train", "--device", device, "--model", tiny_model, "--max-prompt-tokens", 30, "--max-new-tokens", 8,
        "--truncate-prompts", "left", "--output", tmp_path / "run",
    )  # fmt: skip
    assert refused.exit_code == 2
    assert message in refused.stderr
    assert not (tmp_path / "run").exists()
