"""Bad input as one line and exit code 2, warnings as one line; programming errors keep their traceback."""

import importlib.util
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn, TextIO

import typer

if TYPE_CHECKING:
    from textgym.reward_protocol import RewardError

BAD_INPUT = 2


def refuse(message: str) -> NoReturn:
    """Say what is wrong, and exit."""
    sys.stderr.write(f"Error: {message}\n")
    raise typer.Exit(BAD_INPUT)


def show_warnings_plainly() -> None:
    """Have warnings to the user printed without the place in the code; those to programmers stay as Python has them."""
    usual = warnings.showwarning

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None,
        line: str | None = None,
    ) -> None:  # fmt: skip
        if category is UserWarning and file is None:
            sys.stderr.write(f"Warning: {message}\n")
        else:
            usual(message, category, filename, lineno, file, line)

    warnings.showwarning = show


def show_cause(error: "RewardError") -> None:
    """Print the traceback of what a user's own reward raised; what is wrong with a reward server the error itself says.

    Args:
        error: The reward's error, which is still to be told.
    """
    from textgym.rewards.reward_server import ServerError

    if error.__cause__ is not None and not isinstance(error.__cause__, ServerError):
        traceback.print_exception(error.__cause__)


def needs_extra(extra: str, package: str) -> None:
    """Refuse a command whose packages, of which one is named, are not installed."""
    if importlib.util.find_spec(package) is None:
        refuse(f"this command needs more packages; install them by: pip install 'textgym[{extra}]'")


@contextmanager
def checked_input() -> Iterator[None]:
    """Refuse what the library finds wrong with its input; wrap nothing but the reading and checking of input in it."""
    try:
        yield
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        refuse(f"{place}{error.strerror or error}")
    except (ValueError, TypeError) as error:
        refuse(str(error))
