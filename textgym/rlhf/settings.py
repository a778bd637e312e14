"""Every setting of a feedback loop, with its default and its range, read from YAML."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from textgym.named_objects import nearest
from textgym.training.algorithm_settings import RolloutSettings
from textgym.training.declaring import PlainData, Settings, setting
from textgym.training.settings import TrainSettings
from textgym.training.settings_file import all_settings, build_section, build_settings, read_mapping, with_names

from .annotator_settings import read_annotators
from .ratings_file import RatingsFile

if TYPE_CHECKING:
    from textgym.rewards.learned import Counterfactual
    from textgym.training.sft_options import SftOptions

# What the loop itself gives to `textgym train` and `textgym sft`.
GIVEN_TO_TRAINING = (
    "model", "seed", "task.prompts", "task.reward", "evaluation.eval_prompts", "algorithm.reference",
)  # fmt: skip
GIVEN_TO_WARM_START = ("model", "seed")


@dataclass(frozen=True)
class CollectionSettings(Settings):
    """Which completions are rated, and which pairs compared."""

    completions: int | None = setting(200, "Completions that are rated in each round; null for none.", least=2)
    comparisons: int | None = setting(
        None, "Pairs of completions of one prompt that are compared in each round; null for none.", least=1
    )
    candidates: int | None = setting(
        None, "Completions written in each round, and as many pairs, among which those are chosen. "
        "[default: four times as many where reward models choose, else twice]", least=2,
    )  # fmt: skip
    selection: Literal["disagreement", "random"] = setting(
        "disagreement", "Choose those on which the reward models of an ensemble disagree most, or any. Of a pair it is "
        "the difference in score that they disagree on.",
    )  # fmt: skip

    def n_written(self, n_asked: int, by_disagreement: bool) -> int:
        """Return how many completions, or pairs, are written in a round.

        Args:
            n_asked: How many of them annotators are asked about.
            by_disagreement: Whether reward models choose these. Else some more are written than are asked, since some
                may be empty or alike.
        """
        return (4 if by_disagreement else 2) * n_asked if self.candidates is None else self.candidates


@dataclass(frozen=True)
class RewardModelSettings(Settings):
    """The reward model that learns in each round, from all feedback so far."""

    kind: str = setting("ridge", "Kind of model, one of `textgym.rewards.learned.KINDS`.")
    settings: PlainData = setting(None, "Arguments of its class.")  # noqa: RUF009 (a field, no shared value)
    ensemble: int | None = setting(4, "Models that learn from bootstrap samples; null for one model.", least=2)
    pessimism: float = setting(0.0, "Times their disagreement, which is subtracted from the score.", least=0)
    augment: PlainData = setting(  # noqa: RUF009
        None, "Counterfactuals to learn from as well, a list: {exchange: gender}, {oppose: sentiment} and so on."
    )
    ratings: RatingsFile = RatingsFile()  # noqa: RUF009 (frozen, as the sections below)
    min_gap: float = setting(
        1.0, "Pairs count in the accuracy on new feedback whose ratings differ by more than this.", least=0
    )

    def __post_init__(self) -> None:
        """Check ranges and counterfactuals."""
        super().__post_init__()
        self.counterfactuals()

    @property
    def learns_from_pairs(self) -> bool:
        """Whether the model learns which of two completions is preferred."""
        objective = (self.settings or {}).get("objective")
        return self.kind == "linear_preferences" or (self.kind == "network" and objective == "preferences")

    def counterfactuals(self) -> "list[Counterfactual]":
        """Return those that feedback is augmented by.

        Raises:
            ValueError: If they are no list of counterfactuals.
        """
        if self.augment is None:
            return []
        from textgym.rewards.learned import read_counterfactual

        if not isinstance(self.augment, list):
            raise ValueError(f"reward_model.augment must be a list of counterfactuals, got {self.augment!r}.")
        return [read_counterfactual(spec) for spec in self.augment]


@dataclass(frozen=True)
class LoopSettings(Settings):
    """All settings of a loop; with the same ones, and annotators in code, it repeats exactly."""

    output: str = setting("runs/rlhf", "Folder of the loop.")
    model: str = setting("bundled", "Model to begin with: 'bundled', a folder, a run folder, or a hub name.")
    prompts: PlainData = setting("bundled", "Prompts, as of textgym train.")  # noqa: RUF009
    eval_prompts: PlainData = setting(None, "Prompts to evaluate on, likewise.")  # noqa: RUF009
    rounds: int = setting(3, "Rounds.", least=1)
    seed: int = setting(1, "Decides everything that is drawn.", least=0, most=2**31 - 1)
    warm_start: PlainData = setting(None, "Supervised fine-tuning first: options of textgym sft.")  # noqa: RUF009
    feedback: CollectionSettings = CollectionSettings()
    annotators: PlainData = setting(None, "Who rates.")  # noqa: RUF009 (a field, no shared value)
    reward_model: RewardModelSettings = RewardModelSettings()
    training: PlainData = setting(None, "Settings of textgym train.")  # noqa: RUF009

    def __post_init__(self) -> None:
        """Check ranges, and what has to fit together."""
        super().__post_init__()
        self.train_settings(model=self.model, seed=self.seed)
        self.warm_start_options(self.model)
        annotators = read_annotators(self.annotators)
        annotators.check_against(self.reward_model.kind, self.reward_model.settings or {})
        if self.feedback.completions is None and self.feedback.comparisons is None:
            raise ValueError("feedback must have completions, comparisons, or both; both are null.")
        if self.feedback.comparisons is not None and not self.reward_model.learns_from_pairs:
            raise ValueError(
                f"feedback.comparisons needs a reward model that learns from pairs, got reward_model.kind "
                f"{self.reward_model.kind!r}; choose linear_preferences, or network with settings: {{objective: "
                "preferences}."
            )
        for name in ("completions", "comparisons"):
            n_asked, n_candidates = getattr(self.feedback, name), self.feedback.candidates
            if n_asked is not None and n_candidates is not None and n_candidates < n_asked:
                raise ValueError(
                    f"feedback.candidates must be at least feedback.{name} ({n_asked}), got {n_candidates}."
                )
        if self.feedback.selection == "disagreement" and self.reward_model.ensemble is None:
            raise ValueError(
                "feedback.selection 'disagreement' needs reward_model.ensemble, the number of models that may "
                "disagree; give it, or choose 'random'."
            )

    def train_settings(
        self, *, model: str, seed: int, reward: str | None = None, reference: str | None = None
    ) -> TrainSettings:
        """Return the settings of a training.

        Args:
            model: What is trained.
            seed: Its seed.
            reward: The reward model's folder; None where it is only checked, or nothing is trained.
            reference: What KL is measured against, where the algorithm measures it; None for the model itself.

        Raises:
            ValueError: If `training` is wrong, or names what the loop itself decides.
        """
        if not isinstance(self.training, Mapping | None):
            raise ValueError(f"training must be a mapping of settings of textgym train, got {self.training!r}.")
        data = _copied(self.training or {})
        for name in GIVEN_TO_TRAINING:
            section, _, key = name.rpartition(".")
            if key in (data.get(section, {}) if section else data):
                raise ValueError(f"training.{name} is given by the loop itself; leave it out.")
        data |= {"model": model, "seed": seed}
        data.setdefault("task", {})["prompts"] = self.prompts
        data.setdefault("evaluation", {})["eval_prompts"] = self.eval_prompts
        if reward is not None:
            data["task"]["reward"] = reward
        try:
            settings = build_settings(data)
        except ValueError as error:
            raise ValueError(f"training: {error}") from error
        if reference is None or not isinstance(settings.algorithm, RolloutSettings):
            return settings
        return replace(settings, algorithm=replace(settings.algorithm, reference=reference))

    def warm_start_options(self, model: str) -> "SftOptions | None":
        """Return the options of supervised fine-tuning; None where there is none.

        Raises:
            ValueError: If they are wrong.
        """
        if self.warm_start is None:
            return None
        from textgym.training.sft_options import SftOptions

        names = [declared.name for declared in fields(SftOptions) if declared.name not in GIVEN_TO_WARM_START]
        if not isinstance(self.warm_start, Mapping) or "data" not in self.warm_start:
            raise ValueError(f"warm_start must have data, a file of demonstrations, got {self.warm_start!r}.")
        for name in self.warm_start:
            if name not in names:
                raise ValueError(f"warm_start has no option {name!r}.{nearest(name, names)}")
        options = {**self.warm_start, "data": str(self.warm_start["data"])}
        try:
            return SftOptions(**options, model=model, seed=self.seed)
        except (ValueError, TypeError) as error:
            raise ValueError(f"warm_start: {error}") from error


def read_loop_settings(path: Path) -> LoopSettings:
    """Read a loop's settings.

    Raises:
        ValueError: If the file is not YAML, a name is unknown (with the nearest match), a value is of the wrong type or
            out of range, or two settings do not fit together.
        OSError: If the file cannot be read.
    """
    try:
        return build_section(LoopSettings, read_mapping(path), everywhere=_everywhere)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _everywhere() -> list[str]:
    return [f"training.{name}" for name, *_ in all_settings()]


def _copied(training: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of textgym train whose sections are mappings that can be added to."""
    data = with_names(dict(training))
    return {key: dict(value) if isinstance(value, Mapping) else value for key, value in data.items()}
