"""Packages that only some rewards need: imported when such a reward is made, or an error that says what to install."""

import importlib
from typing import Any


class MissingPackageError(ImportError, ValueError):
    """A package that a reward needs is not installed; the message names the extra that brings it."""


def require_package(module: str, extra: str, user: str) -> Any:
    """Import a module of an optional package.

    Args:
        module: The module.
        extra: The extra of TextGym that brings its package.
        user: What needs it, for the error.

    Raises:
        MissingPackageError: If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # the package is there, what it imports is not
        problem = f"{user} needs the package {package}, which is not installed: pip install 'textgym[{extra}]'"
        raise MissingPackageError(problem) from error
