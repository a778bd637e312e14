"""`textgym train`: train a language model on a task, or go on with a run."""

import signal
import sys
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from textgym.allocator import keep_freed_memory
from textgym.shell_words import as_typed
from textgym.training.run_folder import RunFolder
from textgym.training.settings_file import read_output, read_settings
from textgym.training.shipped_configs import find_config

from .errors import checked_input, refuse, show_cause
from .libraries import silence_libraries
from .options import add_settings, given_settings, option_name
from .own_modules import find_own_modules

if TYPE_CHECKING:
    from textgym.training.run import Run

# What may be changed when a run is resumed: it does not change what was learned so far, and a run that has stopped
# because its steps were too long needs shorter ones.
CHANGEABLE = (
    "total_tokens",
    "device",
    "checkpoint_seconds",
    "algorithm.learning_rate",
    "algorithm.learning_rate_end",
    "algorithm.max_grad_norm",
)


def train(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="YAML file, or rl4lms-imdb; the options below go before it."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="New folder for the run. [default: runs/DATE_TIME]")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", help="Go on with the run in this folder, from its last checkpoint.")
    ] = None,
    **options: Any,
) -> None:
    """Train a language model by reinforcement learning to write what a reward asks for.

    Without options it trains the bundled GPT-2 to write about Python and machine learning, without sensitive words, and
    at a fair length. `make demo` does so with three options more, by which the texts stay nearer to English.

    Every option below, and output, is also a setting of the YAML file given by --config; a run's folder holds its own
    as config.yaml. Ctrl-C saves before it stops.

    For example:

    ```
    textgym train --output runs/demo
    textgym train --prompts my_prompts.txt --reward my_module:my_reward
    textgym train --config runs/demo/config.yaml --seed 2
    textgym train --resume runs/demo
    textgym train --algo A2C --task TextGen-Copy-v0
    ```
    """
    find_own_modules()
    given = given_settings(context, options)
    if resume is not None:
        _check_resumable(given, config, output)
        folder = RunFolder(resume)
        with checked_input():
            settings = folder.read_settings(given)
    else:
        with checked_input():
            file = config and find_config(config)
            settings = read_settings(file, given)
            named = output or (file and read_output(file))
            folder = RunFolder(named or Path("runs") / f"{datetime.now():%Y-%m-%d_%H-%M-%S}")
            folder.check_is_free()
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with ExitStack() as stack:
            with checked_input():
                stack.enter_context(folder.held())
                from textgym.training.run import prepare

                silence_libraries()
                keep_freed_memory()
                run = prepare(settings, folder)
            _execute(run)
    except KeyboardInterrupt as interrupt:
        _stop_by(interrupt, folder)
    except Exception as error:
        # PyTorch's writer raises an error of its own where it is interrupted.
        behind = _interrupt_behind(error)
        if behind is None:
            raise
        _stop_by(behind, folder)
    finally:
        signal.signal(signal.SIGTERM, before)


add_settings(train)


def _execute(run: "Run") -> None:
    from textgym.agents.finite_updates import NonFiniteError
    from textgym.reward_protocol import RewardError
    from textgym.training.report import report_console
    from textgym.training.run import execute
    from textgym.training.stopping import TrainingStopped

    try:
        execute(run, report_console())
    except NonFiniteError as error:
        lower = f"{run.model.lr_schedule(1.0) / 10:g}"
        refuse(f"{error}\nFor example: textgym train --resume {as_typed(run.folder.path)} --learning-rate {lower}")
    except RewardError as error:
        show_cause(error)
        refuse(f"{error}\nOnce it is mended: textgym train --resume {as_typed(run.folder.path)}")
    except TrainingStopped as stopped:
        _stop(stopped.signal, run.folder)


def _check_resumable(given: dict[str, Any], config: Path | None, output: Path | None) -> None:
    """Refuse options that a run cannot be resumed with."""
    fixed = [option_name(name) for name in given if name not in CHANGEABLE]
    fixed += [name for name, value in (("config", config), ("output", output)) if value is not None]
    if fixed:
        flag = f"--{fixed[0].replace('_', '-')}"
        changeable = ", ".join(f"--{option_name(name).replace('_', '-')}" for name in CHANGEABLE)
        refuse(
            f"{flag} cannot be given with --resume, which goes on with the run's own settings; only {changeable} can. "
            "To train its model with other settings, start a run with --model FOLDER."
        )


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number))


def _interrupt_behind(error: BaseException | None) -> KeyboardInterrupt | None:
    """Return the interrupt that an error was raised in the wake of."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error


def _stop_by(interrupt: KeyboardInterrupt, folder: RunFolder) -> NoReturn:
    _stop(interrupt.args[0] if interrupt.args else signal.SIGINT, folder)


def _stop(received: signal.Signals, folder: RunFolder) -> NoReturn:
    message = "Stopped before anything was saved."
    if folder.config.is_file():
        message = (
            f"Stopped; {folder.path} holds what was saved. Go on with: textgym train --resume {as_typed(folder.path)}"
        )
    sys.stderr.write(f"{message}\n")
    raise typer.Exit(128 + received)
