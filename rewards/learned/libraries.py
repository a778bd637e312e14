"""scikit-learn and skops, which come with the extra `learned`: imported where they are used, missed with a remedy."""

import importlib
from types import ModuleType

from textgym.rewards.extras import MissingPackageError


def require_library(name: str) -> ModuleType:
    """Import a module of the extra `learned`.

    Args:
        name: Dotted name, such as "sklearn.linear_model".

    Raises:
        MissingPackageError: If its package is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != name.partition(".")[0]:
            raise  # the package is there, what it imports is not
        raise MissingPackageError(
            f"This kind of reward model needs {error.name}, which is not installed; "
            "install it by: pip install 'textgym[learned]'"
        ) from error
