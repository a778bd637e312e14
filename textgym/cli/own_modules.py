"""Modules of the user's own: found in the folder that a command runs in, as `python -m` finds them."""

import sys
from pathlib import Path


def find_own_modules() -> None:
    """Let rewards, prompts and tasks of the user's own be imported from the folder that the command runs in."""
    sys.path.insert(0, str(Path.cwd()))
