"""Settings as plain data: read from YAML and checked, merged with the command line's, and written again."""

import difflib
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, asdict, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import yaml

from textgym.yaml_values import read_yaml

from .algorithm_settings import AlgorithmSettings
from .algorithms import ALGORITHMS
from .declaring import Settings
from .settings import TaskSettings, TrainSettings

OUTPUT = "output"  # where a run goes, which is no part of what it is: it repeats in any other folder
Node = dict[str, Any]
Section = TypeVar("Section", bound=Settings)


def read_settings(path: Path | None, overrides: Mapping[str, Any]) -> TrainSettings:
    """Read settings from a file.

    Args:
        path: A YAML file; None for the defaults. The output folder that it may name is none of the settings.
        overrides: Settings that go before the file's, by dotted name (`"algorithm.learning_rate"`).

    Raises:
        ValueError: If the file is not YAML or not a mapping, a name is unknown (with the nearest match), or a value
            is of the wrong type or out of range.
        OSError: If the file cannot be read.
    """
    data = {} if path is None else with_names(read_mapping(path))
    data.pop(OUTPUT, None)
    for name, value in overrides.items():
        *sections, key = name.split(".")
        node: Any = data
        for section in sections:
            if node.get(section) is None:
                node[section] = {}
            node = node[section]
            if not isinstance(node, dict):
                break  # which `build_settings` refuses
        else:
            node[key] = value
    try:
        return build_settings(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}" if path is not None else str(error)) from error


def read_output(path: Path) -> Path | None:
    """Read which output folder a file of settings names; None if it names none.

    Raises:
        ValueError: If the file is not YAML or not a mapping, or the folder is no text.
        OSError: If the file cannot be read.
    """
    folder = read_mapping(path).get(OUTPUT)
    if not isinstance(folder, str | None) or folder == "":
        raise ValueError(f"{path}: {OUTPUT} must be the name of a folder, got {folder!r}.")
    return None if folder is None else Path(folder)


def build_settings(data: Mapping[str, Any]) -> TrainSettings:
    """Make settings from plain data; what is not mentioned keeps its default.

    Raises:
        ValueError: If a name is unknown, or a value is of the wrong type or out of range.
    """
    return build_section(TrainSettings, _with_task(data), everywhere=lambda: [name for name, *_ in all_settings()])


def build_section(
    kind: type[Section], data: object, prefix: str = "", everywhere: Callable[[], list[str]] = list
) -> Section:
    """Make a section of settings, and those within it, from plain data.

    Args:
        kind: Its class.
        data: A mapping of settings to values; what is not mentioned keeps its default.
        prefix: What its settings' dotted names begin with, in messages: `"algorithm."`.
        everywhere: Gives the dotted names among which the nearest one to an unknown name is looked for besides.

    Raises:
        ValueError: As `build_settings`.
    """
    return cast(Section, _build(kind, data, prefix, everywhere))


def write_settings(settings: Settings) -> str:
    """Return settings as YAML from which the same are made."""
    return yaml.safe_dump(_plain(asdict(settings)), sort_keys=False, allow_unicode=True, width=100)


def all_settings() -> Iterator[tuple[str, type[Settings], Field[Any], Any]]:
    """Yield dotted name, section, field and type of every setting; those that algorithms share come once."""
    seen = set()
    sections: list[tuple[str, type[Settings]]] = [("", TrainSettings)]
    for section in fields(TrainSettings):
        if isinstance(section.default, AlgorithmSettings):
            sections.extend((f"{section.name}.", kind) for kind in ALGORITHMS.values())
        elif isinstance(section.default, Settings):
            sections.append((f"{section.name}.", type(section.default)))
    for prefix, kind in sections:
        hints = get_type_hints(kind)
        for declared in fields(kind):
            name = prefix + declared.name
            if name not in seen and not isinstance(declared.default, Settings):
                seen.add(name)
                yield name, kind, declared, hints[declared.name]


def read_mapping(path: Path) -> Node:
    """Read a YAML file that holds a mapping, or nothing.

    Raises:
        ValueError: If it holds something else.
        OSError: If it cannot be read.
    """
    try:
        data = read_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ValueError(f"{path} must be a mapping of settings to values, got {type(data).__name__}.")
    return data


def with_names(data: Node) -> Node:
    """Return the settings with an algorithm or a task that was given by its name alone as a section of its own."""
    for section in fields(TrainSettings):
        if isinstance(section.default, AlgorithmSettings | TaskSettings) and isinstance(data.get(section.name), str):
            data[section.name] = {"name": data[section.name]}
    return data


def _with_task(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Put under the given settings those of the task that they name."""
    section = data.get("task")
    name = section.get("name") if isinstance(section, Mapping) else None
    if name is None:
        return data
    if not isinstance(name, str):
        raise ValueError(f"task.name must be text, got {name!r}.")
    from textgym.task_card import read_card  # it loads torch, which no other settings need

    merged: Node = dict(data)
    for key, value in read_card(name).training.items():
        given = data.get(key)
        if not isinstance(value, Mapping):
            merged.setdefault(key, value)
        elif given is None or isinstance(given, Mapping):
            merged[key] = {**value, **(given or {})}
    algorithm = merged.get("algorithm")
    if isinstance(algorithm, Mapping):
        merged["algorithm"] = _known_to_algorithm(algorithm, data.get("algorithm") or {})
    return merged


def _known_to_algorithm(settings: Mapping[str, Any], given: Mapping[str, Any]) -> Node:
    """Leave out what a task says for other algorithms than the chosen one."""
    known = {one.name for one in fields(_algorithm(settings.get("name", AlgorithmSettings.name)))}
    return {key: value for key, value in settings.items() if key in known or key in given}


def _build(kind: type[Settings], data: object, prefix: str, everywhere: Callable[[], list[str]]) -> Settings:
    if not isinstance(data, Mapping):
        raise ValueError(f"{prefix.rstrip('.')} must be a mapping of settings to values, got {data!r}.")
    if issubclass(kind, AlgorithmSettings):
        kind = _algorithm(data.get("name", AlgorithmSettings.name))
    declared = {one.name: one for one in fields(kind)}
    hints = get_type_hints(kind)
    values: Node = {}
    for key, value in data.items():
        if key not in declared:
            owners = [name for name, other in ALGORITHMS.items() if key in {one.name for one in fields(other)}]
            if issubclass(kind, AlgorithmSettings) and owners:
                raise ValueError(f"{kind.name} has no setting {key!r}; it belongs to {', '.join(owners)}.")
            raise ValueError(_unknown(f"{prefix}{key}", [prefix + one for one in declared], everywhere()))
        default = declared[key].default
        if isinstance(default, Settings):
            values[key] = _build(type(default), {} if value is None else value, f"{prefix}{key}.", everywhere)
        else:
            values[key] = _convert(value, hints[key], f"{prefix}{key}")
    return kind(**values)


def _algorithm(name: object) -> type[AlgorithmSettings]:
    if name in ALGORITHMS:
        return ALGORITHMS[str(name)]
    matches = difflib.get_close_matches(str(name).upper(), ALGORITHMS, n=1)
    near = f" Did you mean {matches[0]!r}?" if matches else ""
    raise ValueError(f"There is no algorithm {name!r}; expected one of {', '.join(ALGORITHMS)}.{near}")


def _unknown(name: str, siblings: list[str], everywhere: list[str]) -> str:
    """Say that there is no such setting, and which one was probably meant, here or in another section."""
    for names in (siblings, everywhere):
        by_key = {known.rpartition(".")[2]: known for known in reversed(names)}
        matches = difflib.get_close_matches(name.rpartition(".")[2], by_key, n=1)
        if matches:
            return f"There is no setting {name!r}. Did you mean {by_key[matches[0]]!r}?"
    return f"There is no setting {name!r}. Known here are {', '.join(siblings)}."


def _convert(value: object, kind: Any, name: str) -> Any:
    """Return a value of plain data as the type that its setting has."""
    origin = get_origin(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        inner = next(one for one in get_args(kind) if one is not type(None))
        return None if value is None else _convert(value, inner, name)
    if origin is Literal:
        if value not in get_args(kind):
            raise ValueError(f"{name} must be {' or '.join(map(repr, get_args(kind)))}, got {value!r}.")
        return value
    if origin is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(_convert(item, get_args(kind)[0], name) for item in items)
    converted = _number(value, kind) if kind in (int, float) else value
    if not isinstance(converted, kind):
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[kind]
        raise ValueError(f"{name} must be {words}, got {value!r}.")
    return converted


def _number(value: object, kind: type) -> object:
    """Return a number as int or float; YAML 1.1 reads 1e-4 as text."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if kind is float:
        return float(value)
    return int(value) if float(value).is_integer() else None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
