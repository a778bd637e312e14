"""Find what "module:attribute" names, and say clearly what is missing where it names nothing."""

import difflib
import importlib
import sysconfig
import traceback
from collections.abc import Iterable
from typing import Any


def find_object(path: str, what: str) -> Any:
    """Import the object that "module:attribute" names.

    Args:
        path: The name; the attribute may have dots.
        what: What is looked for, to begin a message with, such as "Reward".

    Raises:
        ValueError: If the form is another, there is no such module or attribute, of which the nearest match is given,
            or the module fails, whose own error is the cause.

    >>> find_object("math:pi", "Number")
    3.141592653589793
    """
    module_name, _, attribute_path = path.partition(":")
    if not module_name or not attribute_path:
        article = "An" if what[:1] in "AEIOU" else "A"
        raise ValueError(f'{article} {what[:1].lower()}{what[1:]} must be given as "module:attribute", got {path!r}.')
    try:
        value: Any = importlib.import_module(module_name)
    except Exception as error:
        name = missing_module(error, module_name)
        if name is not None:
            remedy = "Install it, or run from the folder that it is in."
            if module_name.endswith(".py"):
                remedy = f"A module is named without its .py: {module_name.removesuffix('.py')}:{attribute_path}"
            raise ValueError(f"{what} {path!r}: there is no module {name!r}. {remedy}") from error
        # The module is there: what is wrong is in it, or in what it imports.
        raise ValueError(f"{what} {path!r} cannot be imported: {_place(error)}.") from error
    for attribute in attribute_path.split("."):
        if attribute not in dir(value):
            raise ValueError(f"{what} {path!r}: there is no {attribute!r}.{nearest(attribute, dir(value))}")
        value = getattr(value, attribute)
    return value


def missing_module(error: Exception, module_name: str) -> str | None:
    """Return what is not there where importing a module failed: it, or a package that it lies in.

    None where it is there, and what is wrong is in it or in what it imports.
    """
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    return missing if missing is not None and f"{module_name}.".startswith(f"{missing}.") else None


def _place(error: Exception) -> str:
    """Return where code of the user's own has failed in being imported, and how, in one line."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    # The first frame is this module's; those of Python and of installed packages are not where to look.
    frames = [one for one in traceback.extract_tb(error.__traceback__)[1:] if not one.filename.startswith("<")]
    installed = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    own = [one for one in frames if not one.filename.startswith(installed)] or frames
    message = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(".")
    return f"{own[-1].filename}, line {own[-1].lineno}: {message}" if own else message


def nearest(name: str, names: Iterable[str]) -> str:
    """Return " Did you mean …?" with the name that is nearest; nothing where none is near."""
    matches = difflib.get_close_matches(name, list(names), n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""
