"""Paths as they are typed in a shell, for commands that messages tell people to type."""

import shlex
from pathlib import Path


def as_typed(path: Path | str) -> str:
    """Return a path as one word of a POSIX shell.

    >>> as_typed("my films/run")
    "'my films/run'"
    """
    return shlex.quote(str(path))
