"""Who rates, as settings: a reward, simulated people, a command, or people."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textgym.models import BUNDLED_MODEL, BUNDLED_MODEL_FOLDER
from textgym.training.declaring import PlainData, Settings, setting
from textgym.training.settings_file import build_section

from .ratings_file import RatingsFile

WORDS = "words (TF-IDF)"  # what the kinds of scikit-learn rest on


@dataclass(frozen=True)
class AnnotatorSettings(Settings):
    """What the settings of all annotators have in common."""

    def check_against(self, kind: str, arguments: Mapping[str, Any]) -> None:
        """Raise ValueError if the reward model under training could know too much of the annotators."""


@dataclass(frozen=True)
class RewardAnnotators(AnnotatorSettings):
    """A reward that says what people would."""

    reward: PlainData = setting(None, "A reward, as of textgym train.")  # noqa: RUF009 (a field, no shared value)
    per_item: int = setting(1, "Raters of each completion.", least=1)
    noise: float = setting(0.0, "Standard deviation of each rater's error.", least=0)


@dataclass(frozen=True)
class SimulatedAnnotators(AnnotatorSettings):
    """A reward model that stands for the people whose ratings it was fitted on, with their spread."""

    ratings: RatingsFile = RatingsFile()  # noqa: RUF009 (frozen)
    share: float = setting(
        0.5, "Share of these texts that the raters are fitted on; no reward model under training sees them.",
        above=0, most=1,
    )  # fmt: skip
    kind: str = setting("network", "Kind of model; it must not rest on what the reward model under training rests on.")
    settings: PlainData = setting(None, "Arguments of its class.")  # noqa: RUF009 (a field, no shared value)
    per_item: int = setting(3, "Raters of each completion.", least=1)

    def check_against(self, kind: str, arguments: Mapping[str, Any]) -> None:
        """Raise ValueError if the reward model rests on the same backbone as the raters."""
        theirs, ours = backbone(self.kind, self.settings or {}), backbone(kind, arguments)
        if theirs == ours:
            raise ValueError(
                "annotators.simulated and reward_model must not share a backbone, or the one knows the other's faults; "
                f"both rest on {ours}. Choose kind network for one of them, or another settings.backbone."
            )


@dataclass(frozen=True)
class CommandAnnotators(AnnotatorSettings):
    """A command that reads completions and writes ratings."""

    command: str = setting("", "The command, split as a shell would.")


@dataclass(frozen=True)
class PeopleAnnotators(AnnotatorSettings):
    """People at the page of textgym label."""

    per_item: int = setting(1, "How many people rate each completion.", least=1, most=1000)
    enough: float = setting(1.0, "Share of the completions that have to be rated to go on.", above=0, most=1)
    least_score: int | None = setting(None, "Lowest score. [default: 1, or the store's]")
    most_score: int | None = setting(None, "Highest score. [default: 5, or the store's]")
    instructions: str | None = setting(
        None, "Text file that raters read at the side of the page, where the store has nothing for them to read."
    )
    store: str | None = setting(None, "Feedback store. [default: feedback.db in the loop's folder]")

    @property
    def scale(self) -> tuple[int, int] | None:
        """Lowest and highest score; None for the store's."""
        if self.least_score is None and self.most_score is None:
            return None
        return 1 if self.least_score is None else self.least_score, 5 if self.most_score is None else self.most_score


KINDS: dict[str, type[AnnotatorSettings]] = {
    "reward": RewardAnnotators,
    "simulated": SimulatedAnnotators,
    "command": CommandAnnotators,
    "people": PeopleAnnotators,
}
REQUIRED = {"reward": "reward", "simulated": "ratings", "command": "command"}


def read_annotators(data: object) -> AnnotatorSettings:
    """Read who rates from a mapping of one of the `KINDS` to its settings.

    Raises:
        ValueError: If it is something else, or a setting is unknown, missing or out of range.
    """
    if not isinstance(data, Mapping) or len(data) != 1 or next(iter(data)) not in KINDS:
        raise ValueError(
            f"annotators must be one of {', '.join(KINDS)}, with settings of its own, such as "
            f"{{reward: {{reward: sentiment}}}}; got {_without_values(data)}."
        )
    ((kind, given),) = data.items()
    settings = build_section(KINDS[kind], {} if given is None else given, f"annotators.{kind}.")
    needed = REQUIRED.get(kind)
    if needed is not None and getattr(settings, needed) in (None, "", RatingsFile()):
        raise ValueError(f"annotators.{kind}.{needed} is missing.")
    return settings


def _without_values(data: object) -> str:
    """Describe settings without what is in them, which may be a password."""
    if isinstance(data, Mapping):
        return f"the keys {', '.join(map(str, data)) or '-'}"
    return "None" if data is None else type(data).__name__


def backbone(kind: str, arguments: Mapping[str, Any]) -> str:
    """Return what a reward model rests on: the folder or hub name of a network, or words.

    A folder is the same by whatever path it is named; a model is not where it has been copied.
    """
    if kind != "network":
        return WORDS
    name = str(arguments.get("backbone", BUNDLED_MODEL))
    folder = BUNDLED_MODEL_FOLDER if name == BUNDLED_MODEL else Path(name)
    return str(folder.resolve()) if folder.is_dir() else name
