"""Saving and loading an algorithm: never half a file; foreign files, and settings that would be ignored, are errors."""

import contextlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.save_util import open_path
from stable_baselines3.common.type_aliases import GymEnv

from textgym.replacing import replacing_file

from .finite_updates import FiniteUpdates

# The network is the saved one.
FIXED = ("policy", "policy_kwargs")
# What no constructor knows of a saved algorithm: its networks, and the policy that it is compared with.
NEEDED = ("policy_class", "policy_kwargs", "observation_space", "action_space", "class_name", "reference_store")


class CheckedPersistence(FiniteUpdates):
    """A mixin before Stable-Baselines3's class, whose `load` takes any file and any keyword as they come."""

    class_name: str
    left_out_of_file: Sequence[str] = ()
    pending_log: Mapping[str, tuple[Any, Any]] = MappingProxyType({})
    # Constructor arguments that a part of the algorithm keeps: its attribute here, and the argument's name in it.
    settings_of_parts: ClassVar[dict[str, tuple[str, str]]] = {}
    # Constructor arguments that may be left to the algorithm: the attribute that holds what it has found for one.
    defaults_found: ClassVar[dict[str, str]] = {}
    # Constructor arguments that mean something to `load` without being attributes.
    settings_of_load: ClassVar[frozenset[str]] = frozenset()

    def save(self, path: str | Path | io.BufferedIOBase, exclude: Any = None, include: Any = None) -> None:
        """Save to a `.zip` as Stable-Baselines3 does; a file of that name stays whole until the new one is.

        Args:
            path: The file, with or without its `.zip`, or an open one.
            exclude: Attributes that are left out; a model that is loaded has what its constructor makes of them.
            include: Attributes that are not left out.

        Raises:
            ValueError: If something is left out without which nothing could be loaded.
        """
        if isinstance(path, io.BufferedIOBase):
            self.left_out_of_file = sorted(set(exclude or ()) - set(include or ()))
            for name in self.left_out_of_file:
                if name in NEEDED:
                    raise ValueError(f"exclude cannot have {name!r}: without it the file would be of no use.")
            logger: Logger | None = vars(self).get("_logger")
            if logger is not None:
                # The last update's figures, which are written out with the next rollout's.
                self.pending_log = {
                    name: (value, logger.name_to_excluded[name]) for name, value in logger.name_to_value.items()
                }
            super().save(path, exclude, include)
            self.pending_log, self.left_out_of_file = {}, ()
            return
        target = Path(path)
        target = target if target.suffix else target.with_name(f"{target.name}.zip")
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(target) as partial, partial.open("wb") as file:
            self.save(file, exclude, include)
        self.last_checkpoint = target

    @classmethod
    def load(
        cls,
        path: str | Path | io.BufferedIOBase,
        env: GymEnv | None = None,
        device: torch.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **settings: Any,
    ) -> Self:
        """Load what `save` wrote.

        The file holds pickles, which may run any code when they are read: load only what you trust.

        Args:
            path: The file, with or without its `.zip`.
            env: The environment to go on with; None to predict only.
            device: `"auto"`, `"cpu"` or `"cuda"`.
            custom_objects: As in Stable-Baselines3.
            print_system_info: As in Stable-Baselines3.
            force_reset: As in Stable-Baselines3.
            **settings: Arguments of the constructor that take the place of the saved ones.

        Raises:
            ValueError: If the file is not whole or of another class, or a setting cannot be changed.
            TypeError: If there is no such setting.
            FileNotFoundError: If there is no such file.
        """
        example = cls._example(settings)
        saved = _read_data(path, cls.__name__)
        cls._check_data(path, saved, example)
        parts = {name: settings.pop(name) for name in cls.settings_of_parts if name in settings}
        settings |= {found: None for name, found in cls.defaults_found.items() if name in settings}
        model: Self = super().load(path, env, device, custom_objects, print_system_info, force_reset, **settings)
        for name, value in parts.items():
            owner, attribute = cls.settings_of_parts[name]
            setattr(getattr(model, owner), attribute, value)
        model.class_name = cls.__name__
        if not isinstance(path, io.BufferedIOBase):
            model.last_checkpoint = Path(path)
        return model

    @classmethod
    def _check_data(cls, path: object, saved: Mapping[str, Any], example: Self) -> None:
        """Raise ValueError if a file's attributes are not those of an algorithm of this class, such as `example`."""
        # A subclass of a user's may go on with what the class of ours below it has saved.
        kinds = [kind for kind in cls.__mro__ if issubclass(kind, CheckedPersistence)]
        ours = next(kind for kind in kinds if kind.__module__.startswith("textgym."))
        saved_by = saved.get("class_name", cls.__name__)
        if saved_by not in (cls.__name__, ours.__name__):
            raise ValueError(f"{path} was saved by {saved_by}; load it by {saved_by}.load.")
        plain = ours._example({}) if saved_by == ours.__name__ else example
        # What the class has a default for may be missing. Files of earlier versions do not name their class.
        expected = {name for name in vars(plain) if not hasattr(cls, name)} - {"class_name"}
        expected -= {*plain._excluded_save_params(), *saved.get("left_out_of_file", ())}
        missing = sorted(expected - saved.keys())
        if missing:
            raise ValueError(
                f"{path} was not saved by this version's {cls.__name__}: it has no {missing[0]}. Load it with the "
                "class and the version that saved it, or take over its weights alone by set_parameters, in a model "
                "whose networks are alike."
            )

    @classmethod
    def _example(cls, settings: dict[str, Any]) -> Self:
        """Make an algorithm without network and environment, whose constructor checks the settings."""
        for name in settings.keys() & set(FIXED):
            raise ValueError(f"{cls.__name__}.load cannot change {name}: the network is the saved one.")
        try:
            example = cls(policy=next(iter(cls.policy_aliases)), env=None, **settings, _init_setup_model=False)  # type: ignore[call-arg]
        except TypeError as error:
            raise TypeError(f"{cls.__name__}.load: {error}") from error
        kept = vars(example).keys() | cls.settings_of_parts.keys() | cls.settings_of_load
        for name in settings.keys() - kept:
            raise ValueError(f"{cls.__name__}.load cannot change {name}; it is decided where the algorithm is made.")
        return example

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        result = super()._setup_learn(*args, **kwargs)
        for name, (value, excluded) in self.pending_log.items():
            self.logger.record(name, value, excluded)
        self.pending_log = {}
        return result

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "last_checkpoint"]


def _read_data(path: str | Path | io.BufferedIOBase, class_name: str) -> dict[str, Any]:
    """Return what a file says of the attributes that it holds, by name; ValueError if it is not whole."""
    given = contextlib.nullcontext(path) if isinstance(path, io.BufferedIOBase) else None
    with given or open_path(path, "r", suffix="zip") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                is_whole = archive.testzip() is None
                saved = json.loads(archive.read("data")) if is_whole else {}
        except (zipfile.BadZipFile, zlib.error, KeyError, ValueError) as error:
            raise ValueError(_no_checkpoint(path, class_name)) from error
        if isinstance(path, io.BufferedIOBase):
            path.seek(0)
    if not is_whole or not isinstance(saved, dict):
        raise ValueError(_no_checkpoint(path, class_name))
    return saved


def _no_checkpoint(path: object, class_name: str) -> str:
    return f"{path} is damaged or no checkpoint at all; expected the whole .zip file that {class_name}.save writes."
