"""What every reward that has a name is: its first sentence, range and origin, for `textgym rewards`."""

import inspect
from typing import NamedTuple

from .function import RewardFunction
from .registry import description_of, entry_point_of, find_reward, reward_names

AS_MADE = "as made"
UNKNOWN = "?"


class CatalogueEntry(NamedTuple):
    """A reward that has a name.

    Attributes:
        name: Its name.
        description: The first sentence of its documentation; what went wrong where it cannot be loaded.
        score_range: Lowest and highest score, such as "0 to 1"; "as made" where that depends on its arguments,
            "?" where it says nothing of them.
        source: The module that it comes from; of an entry point also its distribution and version.
    """

    name: str
    description: str
    score_range: str
    source: str


def catalogue() -> list[CatalogueEntry]:
    """Return all rewards that have a name, sorted by it."""
    return [describe_name(name) for name in reward_names()]


def describe_name(name: str) -> CatalogueEntry:
    """Return what a name stands for.

    Raises:
        ValueError: If it is unknown; one of an entry point that cannot be loaded says so in its description.
    """
    entry_point = entry_point_of(name)
    source = ""
    if entry_point is not None:
        distribution = entry_point.dist
        package = f" ({distribution.name} {distribution.version})" if distribution is not None else ""
        source = f"{entry_point.value}{package}"
    try:
        found = find_reward(name)
    except Exception as error:
        if entry_point is None:
            raise
        # Whatever another package's module raises while it is imported, the other names are still listed.
        cause = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        return CatalogueEntry(name, f"cannot be loaded: {cause}", UNKNOWN, source)
    is_documented = inspect.isroutine(found) or isinstance(found, type)
    documentation = inspect.getdoc(found if is_documented else type(found)) or ""
    description = description_of(name) or (first_sentence(documentation) if is_documented else repr(found))
    return CatalogueEntry(name, description, describe_range(found), source or found.__module__)


def first_sentence(documentation: str) -> str:
    """Return the first sentence of a docstring, on one line."""
    return " ".join(documentation.partition("\n\n")[0].split())


def describe_range(found: object) -> str:
    """Return the range of a reward, or of a class's rewards, in words."""
    if isinstance(found, type) and issubclass(found, RewardFunction):
        if found.declared_range is None:
            return AS_MADE if found.score_range is not RewardFunction.score_range else UNKNOWN
        bounds: object = found.declared_range
    else:
        bounds = getattr(found, "score_range", None)
    if not isinstance(bounds, tuple):
        return UNKNOWN
    return f"{bounds[0]:g} to {bounds[1]:g}".replace("-", "−")
