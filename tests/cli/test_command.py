"""The installed command: quick to explain itself, and stopped by real signals."""

import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.cli.conftest import run_command
from textgym.training.logs import read_progress


def test_help_imports_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "stable_baselines3", "matplotlib", "pandas")
    program = (
        "import sys\nfrom textgym.cli import app\n"
        "try: app(['train', '--help'])\nexcept SystemExit: pass\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
    for name in ("--config", "--resume", "--learning-rate", "--completions-per-prompt", "--eval-completions"):
        assert name in result.stdout


def test_the_version_is_the_installed_one() -> None:
    import textgym

    assert textgym.__version__ == version("textgym")
    result = run_command("--version")
    assert (result.exit_code, result.output) == (0, f"textgym {textgym.__version__}\n")
    with pytest.raises(AttributeError, match=r"^module 'textgym' has no attribute '__wersion__'$"):
        getattr(textgym, "__wersion__")  # noqa: B009 (a type checker knows that it is not there)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_that_loads(workplace: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", "from textgym.cli import app; app()"]
    arguments = ["train", "--config", "settings.yaml", "--output", "run", "--total-tokens", "1000000"]
    process = subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    )
    progress = workplace / "run/progress.csv"
    deadline = time.monotonic() + 120
    while not progress.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert errors == (
        "\nStopping after this rollout and its update; once more to stop at once.\n"
        "Stopped; run holds what was saved. Go on with: textgym train --resume run\n"
    )
    n_tokens = int(read_progress(progress)[-1]["time/total_timesteps"])
    resumed = run_command("train", "--resume", "run", "--total-tokens", n_tokens + 1)
    assert resumed.exit_code == 0, resumed.output
