"""Command-line options made from the settings' classes, so that each setting is declared once."""

import inspect
import types
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any, Literal, Union, get_args, get_origin

import typer

from textgym.training.algorithms import ALGORITHMS
from textgym.training.settings_file import all_settings


def add_settings(function: Callable[..., None], only: Iterable[str] | None = None) -> Callable[..., None]:
    """Give a command an option for each setting, which it gets as keyword arguments, under the settings' own names.

    Args:
        function: The command; its last parameter is `**options`, which is changed into the options.
        only: Dotted names of the settings; None for all.

    Returns:
        The same function, with another signature.
    """
    signature = inspect.signature(function)
    own = [parameter for parameter in signature.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
    added = [_parameter(*one) for one in all_settings() if only is None or one[0] in only]
    function.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    function.__annotations__ |= {parameter.name: parameter.annotation for parameter in added}
    return function


def given_settings(context: typer.Context, options: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that were given on the command line, by dotted name."""
    given = {}
    for name, *_ in all_settings():
        key = option_name(name)
        source = context.get_parameter_source(key)
        if key in options and source is not None and source.name == "COMMANDLINE":
            given[name] = options[key]
    return given


def option_name(setting: str) -> str:
    """Return the parameter that an option has, given the dotted name of its setting."""
    section, _, key = setting.rpartition(".")
    return section if key == "name" else key


def _parameter(name: str, section: type[Any], declared: Any, kind: Any) -> inspect.Parameter:
    key = option_name(name)
    dashed = key.replace("_", "-")
    flags = declared.metadata["flags"] or (f"--{dashed}/--no-{dashed}" if kind is bool else f"--{dashed}",)
    is_list = isinstance(declared.default, tuple)
    differing = _defaults(name)
    option = typer.Option(
        None if is_list else declared.default,
        *flags,
        help=" ".join([declared.metadata["help"], *_choices(kind), *_owners(name), *differing]),
        show_default=not differing,
        rich_help_panel=section.title,
        metavar=_metavar(kind),
    )
    return inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=_option_type(kind))


def _choices(kind: Any) -> list[str]:
    """Return what may be chosen, in words, where it is one of a few."""
    inner = _without_none(kind)
    return [f"One of {', '.join(get_args(inner))}."] if get_origin(inner) is Literal else []


def _owners(name: str) -> list[str]:
    """Return which algorithms have a setting, in words, where others have not."""
    section, _, key = name.rpartition(".")
    if section != "algorithm":
        return []
    if key == "name":
        return [f"One of {', '.join(ALGORITHMS)}."]
    have = [one for one, kind in ALGORITHMS.items() if key in {declared.name for declared in fields(kind)}]
    have_not = [one for one in ALGORITHMS if one not in have]
    if not have_not:
        return []
    return [f"({', '.join(have)})" if len(have) <= len(have_not) else f"(not {', '.join(have_not)})"]


def _defaults(name: str) -> list[str]:
    """Return the defaults of a setting, in words, where algorithms differ in it."""
    section, _, key = name.rpartition(".")
    if section != "algorithm" or key == "name":
        return []
    owners: dict[Any, list[str]] = {}
    for algorithm, kind in ALGORITHMS.items():
        for declared in fields(kind):
            if declared.name == key:
                owners.setdefault(declared.default, []).append(algorithm)
    if len(owners) < 2:
        return []
    # What None means, the help says.
    defaults = [f"{default} for {', '.join(names)}" for default, names in owners.items() if default is not None]
    return [f"[default: {'; '.join(defaults)}]"]


def _option_type(kind: Any) -> Any:
    """Return the type that an option has on the command line."""
    inner = _without_none(kind)
    if inner is not kind:
        return _option_type(inner) | None
    if get_origin(kind) is tuple:
        return list[get_args(kind)[0]] | None  # type: ignore[misc]
    return kind if kind in (bool, int, float, str) else str | None if kind is Any else str


def _metavar(kind: Any) -> str | None:
    """Return what a value looks like in help, short enough for the names beside it; None for a flag."""
    inner = _without_none(kind)
    if get_origin(inner) is tuple:
        inner = get_args(inner)[0]
    return None if inner is bool else "NUMBER" if inner in (int, float) else "NAME" if inner is not str else "TEXT"


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        return next(one for one in get_args(kind) if one is not type(None))
    return kind
