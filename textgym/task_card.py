"""What a registered task says of itself: its first sentence, its reference scores and when it counts as solved."""

import difflib
import inspect
import re
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import gymnasium

from .env import TextGenEnv
from .named_objects import missing_module
from .task_arguments import TaskArguments

RANDOM = "random tokens"
UNTRAINED = "untrained model"
_ROW = re.compile(r"^\| (.+?) \| (-?\d+\.\d+) \|$", re.MULTILINE)
_THRESHOLD = re.compile(r"^Solved at (-?\d+\.\d+)\.$", re.MULTILINE)


@dataclass(frozen=True)
class TaskCard:
    """A registered environment as a task to train on, read from its class.

    Attributes:
        id: The environment's id.
        env_class: Its class.
        summary: First sentence of its docstring.
        description: The whole docstring.
        reference_scores: Mean score of each policy that the docstring names, such as "random tokens"; may be empty.
        threshold: Score from which the task counts as solved; None where it states none.
        arguments: What its task is made from, where that differs from the defaults of `TextTask`.
    """

    id: str
    env_class: type[TextGenEnv]
    summary: str
    description: str
    reference_scores: dict[str, float]
    threshold: float | None
    arguments: TaskArguments

    @property
    def training(self) -> dict[str, Any]:
        """Settings that `textgym train --task ID` begins with."""
        arguments: dict[str, Any] = dict(self.arguments)
        settings = self.env_class.training_settings(self.arguments)
        if arguments.get("tokenizer") is not None:
            settings["model"] = arguments["tokenizer"]
        settings["task"] = {key: value for key, value in arguments.items() if key != "tokenizer"}
        return settings


def task_ids() -> list[str]:
    """Return the ids of all registered tasks that state when they are solved, sorted."""
    found = {name: _env_class(spec) for name, spec in gymnasium.registry.items() if _may_be_task(spec)}
    return sorted(
        name for name, kind in found.items() if kind is not None and _THRESHOLD.search(inspect.getdoc(kind) or "")
    )


def read_card(task_id: str) -> TaskCard:
    """Return what a task says of itself.

    Args:
        task_id: The id of an environment like `TextGen-v0`, whose action is one token; `"module:id"` imports a module
            that registers it.

    Raises:
        ValueError: If no such environment is registered (with the nearest match), it is of another kind, or its module
            cannot be imported, whose own error is the cause.
    """
    module, _, name = task_id.rpartition(":")
    if module:
        _import_module(module, task_id)
    spec = gymnasium.registry.get(name)
    if spec is None:
        near = difflib.get_close_matches(name, task_ids(), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"There is no task {task_id!r}; expected one of {', '.join(task_ids())}.{hint}")
    try:
        kind = _env_class(spec)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"Task {task_id!r}: its class {spec.entry_point} cannot be imported: {error}.") from error
    if kind is None:
        raise ValueError(f"{task_id!r} is no task to train on: expected an environment of tokens.")
    text = inspect.getdoc(kind) or ""
    threshold = _THRESHOLD.search(text)
    arguments: Any = {**kind.defaults, **spec.kwargs}
    return TaskCard(
        id=name,
        env_class=kind,
        summary=text.partition("\n\n")[0].replace("\n", " "),
        description=text,
        reference_scores={policy: float(score) for policy, score in _ROW.findall(text)},
        threshold=float(threshold[1]) if threshold else None,
        arguments=arguments,
    )


def _import_module(module: str, task_id: str) -> None:
    try:
        import_module(module)
    except Exception as error:
        missing = missing_module(error, module)
        if missing is not None:
            raise ValueError(
                f"Task {task_id!r}: there is no module {missing!r}. Install it, or run from the folder that it is in."
            ) from error
        # The module is there: what is wrong is in it, or in what it imports.
        message = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(".")
        raise ValueError(f"Task {task_id!r}: its module cannot be imported: {message}.") from error


def _may_be_task(spec: Any) -> bool:
    """Leave other people's environments alone, which need not even be installed."""
    return isinstance(spec.entry_point, type) or str(spec.entry_point).startswith("textgym.") or "TextGen" in spec.id


def _env_class(spec: Any) -> type[TextGenEnv] | None:
    entry_point = spec.entry_point
    if isinstance(entry_point, str):
        module, _, name = entry_point.partition(":")
        entry_point = getattr(import_module(module), name)
    is_task = isinstance(entry_point, type) and issubclass(entry_point, TextGenEnv)
    return entry_point if is_task else None
