"""A loop that a tiny model goes through in seconds, with raters who like short texts."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import Result

from tests.cli.conftest import REWARDS, run_command

SETTINGS: dict[str, Any] = {
    "output": "loop",
    "prompts": ["The sea", "A lake", "Hills"],
    "rounds": 2,
    "feedback": {"completions": 8, "candidates": 12},
    "annotators": {"reward": {"reward": "my_rewards:few_letters", "per_item": 2, "noise": 0.1}},
    "reward_model": {"kind": "ridge", "ensemble": 2, "min_gap": 0.1},
    "training": {
        "total_tokens": 130,
        "checkpoint_seconds": 0,
        "task": {"max_new_tokens": 16},
        "algorithm": {"learning_rate": 1e-2, "tokens_per_rollout": 64, "batch_size": 32, "kl_coef": 0.02},
        "evaluation": {"eval_completions": 6, "table_rows": 2},
    },
}


def write_config(folder: Path, model: Path, **changes: Any) -> Path:
    """Write the settings above, some of them changed, as loop.yaml."""
    path = folder / "loop.yaml"
    path.write_text(yaml.safe_dump({**SETTINGS, "model": str(model), **changes}), encoding="utf-8")
    return path


@pytest.fixture
def workplace(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a user's rewards and a loop's settings."""
    (tmp_path / "my_rewards.py").write_text(REWARDS, encoding="utf-8")
    write_config(tmp_path, tiny_model)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def finished_loop(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Path, Result]:
    """The folder of a loop that was never stopped, and what it printed. Not to be changed."""
    folder = tmp_path_factory.mktemp("workplace")
    (folder / "my_rewards.py").write_text(REWARDS, encoding="utf-8")
    write_config(folder, tiny_model)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        result = run_command("rlhf", "loop.yaml")
    assert result.exit_code == 0, result.output
    return folder / "loop", result
