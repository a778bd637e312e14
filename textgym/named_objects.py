"""Find what "module:attribute" names, and say clearly what is missing where it names nothing."""

import difflib
import importlib
from collections.abc import Iterable
from typing import Any


def find_object(path: str, what: str) -> Any:
    """Import the object that "module:attribute" names.

    Args:
        path: The name; the attribute may have dots.
        what: What is looked for, to begin a message with, such as "Reward".

    Raises:
        ValueError: If the form is another, or there is no such module or attribute; the nearest match is given.

    >>> find_object("math:pi", "Number")
    3.141592653589793
    """
    module_name, _, attribute_path = path.partition(":")
    if not module_name or not attribute_path:
        article = "An" if what[:1] in "AEIOU" else "A"
        raise ValueError(f'{article} {what[:1].lower()}{what[1:]} must be given as "module:attribute", got {path!r}.')
    try:
        value: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, what it imports is not
        raise ValueError(
            f"{what} {path!r}: there is no module {error.name!r}. Install it, or run from the folder that it is in."
        ) from error
    for attribute in attribute_path.split("."):
        if attribute not in dir(value):
            raise ValueError(f"{what} {path!r}: there is no {attribute!r}.{nearest(attribute, dir(value))}")
        value = getattr(value, attribute)
    return value


def nearest(name: str, names: Iterable[str]) -> str:
    """Return " Did you mean …?" with the name that is nearest; nothing where none is near."""
    matches = difflib.get_close_matches(name, list(names), n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""
