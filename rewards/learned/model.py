"""The one interface of learned rewards: fit to feedback, score, evaluate, save; a reward like any other."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, overload

import numpy as np
import numpy.typing as npt
from rich.console import Console

from textgym.reward_protocol import RewardResult
from textgym.rewards.arguments import check_number, check_text_columns, describe
from textgym.rewards.function import RewardFunction

from .agreement import are_equal
from .calibration import Calibration, Predictions, calibrate
from .evaluation import MIN_GAP, Evaluation, evaluate_model
from .feedback import Feedback, require_feedback

Scores = npt.NDArray[np.float64]


class Normalisation(NamedTuple):
    """What turns a model's own scores into ones of mean 0 and variance 1 on some texts.

    Attributes:
        mean: Mean of the model's own scores on these.
        std: Their standard deviation, above 0.
        texts: Which texts they are, in words.
    """

    mean: float
    std: float
    texts: str


class RewardModel(RewardFunction):
    """A reward that is learned from feedback.

    `fit` learns, and then scales scores to mean 0 and variance 1 on the texts of the feedback; call `normalise` with
    completions of the model that reinforcement learning begins with, to have that mean and variance there. Scores
    have no bounds.

    A subclass has a `kind`, stores each argument of its constructor under the argument's name (all of them plain
    data), and says how to learn (`_fit`), to score (`raw_scores`), to compare (`predictions`) and to be written and
    read (`_write`, `_read`).

    Args:
        name: Name of the reward's term in `info` and logs; None for the class name in snake case.

    Attributes:
        normalisation: How scores are scaled; None before `fit`.
        record: What is known of the training, plain data that is saved with the model.
        folder: Where the model was saved last, or loaded from; None where it has changed since.

    Reference:
        Ziegler et al. (2019), arXiv:1909.08593, section 2.2, for the normalisation.
    """

    kind: ClassVar[str]

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.normalisation: Normalisation | None = None
        self.record: dict[str, Any] = {}
        self.folder: Path | None = None

    def fit(self, feedback: Feedback, *, held_out: Feedback | None = None, console: Console | None = None) -> Self:
        """Learn from feedback, anew.

        Args:
            feedback: What to learn from; each kind of model says whether it needs ratings or pairs.
            held_out: What to stop by, for kinds that learn in epochs; None sets a part of the feedback aside. Other
                kinds do not look at it.
            console: Where to show progress; None shows nothing.

        Returns:
            The model itself.

        Raises:
            ValueError: If the feedback has nothing that this kind of model can learn from.
            TypeError: If it is no feedback.
        """
        require_feedback("feedback", feedback)
        if held_out is not None:
            require_feedback("held_out", held_out)
        self.record = {"n_ratings": len(feedback.ratings), "n_preferences": len(feedback.preferences)}
        self.folder, self.normalisation = None, None
        self._fit(feedback, held_out, console)
        try:
            return self.normalise(*feedback.texts(), texts=f"the {len(feedback):,} ratings and pairs of training")
        except ValueError as error:
            raise ValueError(
                f"A {type(self).__name__} learned nothing from the {len(feedback):,} ratings and pairs: it gives all "
                "their texts the same score. Give more feedback, that differs."
            ) from error

    @property
    def place(self) -> str:
        """The folder that the model was saved in or loaded from, as it is now.

        Raises:
            ValueError: If there is none.
        """
        if self.folder is None:
            raise ValueError(f"{self!r} is saved nowhere; save it, for what it has learned to be found again.")
        return str(self.folder)

    def normalise(self, prompts: Sequence[str], completions: Sequence[str], *, texts: str) -> Self:
        """Scale scores to mean 0 and variance 1 on the given texts.

        Args:
            prompts: Length N, at least 2.
            completions: Length N: best those of the model that reinforcement learning begins with.
            texts: Which texts these are, in words; saved with the model.

        Returns:
            The model itself.

        Raises:
            ValueError: If the model gives all of them the same score.
            TypeError: If they are no lists of texts.
        """
        check_text_columns(prompts=prompts, completions=completions)
        scores = self.raw_scores(prompts, completions)
        if are_equal(scores):
            raise ValueError(
                f"Scores are scaled on at least two texts that differ in score, got {len(scores)} texts "
                f"with {len(set(scores.tolist()))} different scores."
            )
        self.folder = None
        self.normalisation = Normalisation(float(scores.mean()), float(scores.std()), texts)
        return self

    def score(
        self, prompts: Sequence[str], completions: Sequence[str], comments: Sequence[str] | None = None
    ) -> list[float]:
        """Return the normalised score of each of N completions.

        Args:
            prompts: Length N.
            completions: Length N.
            comments: What a person wrote on each, "" for nothing; None for nothing at all. Only networks read it.

        Raises:
            ValueError: If the model has not been fitted, or the arguments differ in length.
            TypeError: If they are no lists of texts.
        """
        given = {} if comments is None else {"comments": comments}
        check_text_columns(prompts=prompts, completions=completions, **given)
        if self.normalisation is None:
            raise ValueError(f"This {type(self).__name__} has not learned anything yet; call fit(feedback) first.")
        if not len(completions):
            return []
        raw = self.raw_scores(prompts, completions, comments)
        scores: list[float] = ((raw - self.normalisation.mean) / self.normalisation.std).tolist()
        return scores

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        """Return the normalised score of each of N completions; other columns are not read."""
        return self.score(prompts, completions)

    @overload
    def evaluate(self, prompts: Feedback, /, *, min_gap: float = ...) -> Evaluation: ...

    @overload
    def evaluate(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> RewardResult: ...

    def evaluate(
        self, prompts: Feedback | Sequence[str], completions: Sequence[str] | None = None, **columns: Any
    ) -> Evaluation | RewardResult:
        """Judge the model on feedback: `evaluate(feedback)`. With texts it is every reward's `evaluate`.

        Args:
            prompts: Feedback to judge the model on, best none that it was trained on; or prompts, length N.
            completions: The texts, length N; not with feedback.
            **columns: With feedback `min_gap`: pairs of ratings count that differ by more than this, by default 1.

        Returns:
            An `Evaluation` for feedback; for texts scores and terms as of `RewardFunction.evaluate`.

        Raises:
            ValueError: If there is no feedback, or the model has not been fitted.
            TypeError: If something else comes with feedback than `min_gap`, or texts are no lists of texts.
        """
        if isinstance(prompts, Feedback):
            min_gap = columns.pop("min_gap", MIN_GAP)
            check_number("min_gap", min_gap, least=0)
            others = [*([] if completions is None else ["completions"]), *columns]
            if others:
                raise TypeError(f"evaluate(feedback) takes min_gap besides, got {', '.join(others)}.")
            return evaluate_model(self, prompts, min_gap)
        if completions is None:
            require_feedback("feedback", prompts)
        check_text_columns(prompts=prompts, completions=completions)
        return super().evaluate(prompts, completions or (), **columns)

    def save(self, folder: str | Path) -> None:
        """Write the model to a folder, which `load`, and any place that takes the name of a reward, reads again.

        Nothing in it is a pickle: networks are safetensors, models of scikit-learn are written by skops.

        Raises:
            ValueError: If the model has not been fitted, the folder is not empty and holds no reward model, or it
                cannot be written.
            TypeError: If it is no path.
        """
        from .folder import save_reward_model

        if not isinstance(folder, str | Path):
            raise TypeError(f"folder must be the path of a folder to be made, got {describe(folder)}.")
        save_reward_model(self, Path(folder))
        self.folder = Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a model from the folder that `save` wrote.

        Raises:
            ValueError: If the folder holds no reward model, or one of another kind.
        """
        from .folder import load_reward_model

        model = load_reward_model(folder)
        if not isinstance(model, cls):
            raise ValueError(f"expected a {cls.__name__} in {folder}, it holds a {type(model).__name__}.")
        return model

    @abstractmethod
    def _fit(self, feedback: Feedback, held_out: Feedback | None, console: Console | None) -> None:
        """Learn from feedback; see `fit`."""

    @abstractmethod
    def raw_scores(
        self, prompts: Sequence[str], completions: Sequence[str], comments: Sequence[str] | None = None
    ) -> Scores:
        """Return the model's own scores before normalisation, shape (N,)."""

    @property
    def learns_from_preferences(self) -> bool:
        """Whether `fit` learns from pairs, and not from ratings alone."""
        return False

    @property
    def reads_comments(self) -> bool:
        """Whether `fit` learns from comments too."""
        return False

    @abstractmethod
    def predictions(self, feedback: Feedback) -> Predictions | None:
        """Return what the model predicts beside what people said; None where the feedback says nothing of it."""

    def judged(self, feedback: Feedback) -> Feedback:
        """Return what of the feedback `predictions` are about, so that several models can predict the same."""
        return feedback

    def calibrate(self, feedback: Feedback) -> Calibration | None:
        """Compare what the model predicts with what people said; None where the feedback says nothing of it."""
        found = self.predictions(feedback)
        return None if found is None else calibrate(*found)

    @abstractmethod
    def _write(self, folder: Path) -> dict[str, Any]:
        """Write what was learned to an existing folder, and return what of it is plain data."""

    @abstractmethod
    def _read(self, folder: Path, state: Mapping[str, Any]) -> None:
        """Take over what `_write` wrote."""

    def plain_arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments as plain data, for the saved folder."""
        return {name: _plain(value) for name, value in self.arguments().items()}

    def __repr__(self) -> str:
        """Return what has to be typed to have this model again: to load it, or to make one that is to be fitted."""
        return super().__repr__() if self.folder is None else f"load_reward_model({str(self.folder)!r})"

    # Two models with the same arguments have learned different things: each equals only itself.
    def __eq__(self, other: object) -> bool:
        """Tell whether it is the same object."""
        return self is other

    def __hash__(self) -> int:
        """Hash the object's identity."""
        return id(self)


def _plain(value: Any) -> Any:
    """Return an argument as JSON holds it, numpy's numbers among them."""
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value.item() if isinstance(value, np.generic) else value
