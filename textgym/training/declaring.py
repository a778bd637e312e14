"""How a setting is declared: once, with default, range and help, for the command line, YAML files and checks alike."""

import math
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeAlias, TypeVar

Value = TypeVar("Value")
# What a YAML file may hold: a name, or a list or mapping.
PlainData: TypeAlias = Any
BOUNDS = ("above", "least", "most")


def setting(
    default: Value,
    description: str,
    *,
    flags: tuple[str, ...] = (),
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
) -> Value:
    """Declare a setting.

    Args:
        default: Its default.
        description: Its help.
        flags: Its options on the command line; by default its name with dashes.
        above: It has to be above this.
        least: It has to be at least this.
        most: It has to be at most this.

    Returns:
        A dataclass field, in the guise of its value.
    """
    bounds = {"above": above, "least": least, "most": most}
    declared: Any = field(default=default, metadata={"help": description, "flags": flags, **bounds})
    return declared  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Settings:
    """A section of settings; checks their ranges.

    Raises:
        ValueError: If a number is out of range.
    """

    title: ClassVar[str] = "Options"

    def __post_init__(self) -> None:
        """Check the ranges of all numbers."""
        for declared in fields(self):
            value = getattr(self, declared.name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                check_range(declared.name, value, **{key: declared.metadata.get(key) for key in BOUNDS})


def check_range(name: str, value: float, above: float | None, least: float | None, most: float | None) -> None:
    """Raise ValueError if a number is not finite or out of range; None is no bound."""
    is_inside = (
        (above is None or value > above) and (least is None or value >= least) and (most is None or value <= most)
    )
    if is_inside and math.isfinite(value):
        return
    bounds = {"above": above, "at least": least, "at most": most}
    wanted = " and ".join(f"{words} {bound}" for words, bound in bounds.items() if bound is not None)
    if not math.isfinite(value):
        wanted = f"a finite number {wanted}".rstrip()
    raise ValueError(f"{name} must be {wanted}, got {value}.")
