"""What can be found wrong with a loop's settings before its folder is made."""

import shlex
import shutil
from pathlib import Path

from textgym.training.run import prepare
from textgym.training.run_folder import RunFolder
from textgym.training.sft import load_material

from .annotator_settings import AnnotatorSettings, CommandAnnotators, PeopleAnnotators
from .folder import RoundFolder
from .settings import LoopSettings


def check_warm_start(settings: LoopSettings) -> None:
    """Load the model and read the demonstrations as the warm start will.

    Raises:
        ValueError: If there is no such model, or it cannot learn from them.
        FileNotFoundError: If there are none.
    """
    options = settings.warm_start_options(settings.model)
    if options is None:
        return
    try:
        load_material(options)
    except ValueError as error:
        raise ValueError(f"warm_start: {error}") from error


def check_training(settings: LoopSettings, first: RoundFolder) -> None:
    """Make all that the first training is made from, before anybody is asked for feedback that it will need.

    Raises:
        ValueError: If a setting does not fit, or a name cannot be found.
        TypeError: If a prompt or reward is of the wrong type.
        OSError: If a file cannot be read.
    """
    prepare(settings.train_settings(model=settings.model, seed=settings.seed), RunFolder(first.run))


def check_annotators(chosen: AnnotatorSettings) -> None:
    """See whether annotators can be asked.

    Raises:
        ValueError: If there is no such command, or the store has another scale, or cannot be opened.
        OSError: If there are no such instructions.
    """
    if isinstance(chosen, CommandAnnotators):
        check_command(chosen.command)
    elif isinstance(chosen, PeopleAnnotators):
        from .people import check_people

        check_people(chosen)


def check_command(command: str) -> None:
    """Raise ValueError if a command cannot be split, or there is no such program."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"annotators.command.command cannot be split into words ({error}): {command!r}.") from error
    if not words:
        raise ValueError(f"annotators.command.command must name a program, got {command!r}.")
    if shutil.which(words[0]) is None:
        path = Path(words[0])
        problem = "may not be executed" if path.is_file() else "is not there"
        raise ValueError(f"annotators.command.command: the program {words[0]!r} {problem}; see {command!r}.")
