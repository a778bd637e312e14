"""Several reward models as one: their mean score, from which their disagreement can be subtracted."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from textgym.rewards.arguments import check_flag, check_number, describe

from .calibration import Predictions
from .feedback import Feedback
from .model import Normalisation, RewardModel, Scores


class EnsembleScores(NamedTuple):
    """What the members of an ensemble say of N texts.

    Attributes:
        mean: Mean of the members' normalised scores, shape (N,).
        disagreement: Their standard deviation, shape (N,).
    """

    mean: Scores
    disagreement: Scores


class EnsembleRewardModel(RewardModel):
    """The mean of several models' normalised scores, minus their disagreement times a factor.

    What the members disagree on is what a policy would find to exploit.

    Args:
        members: Models to be fitted, or that have been, at least two; None where `load` brings them.
        pessimism: Times the standard deviation of the members' scores, which is subtracted; at least 0.
        bootstrap: Members learn from bootstrap samples of the feedback, so that they differ where there is little of
            it; False lets all learn from all of it, where their seeds alone make them differ, as networks' do.
        name: Name of the reward's term.

    Raises:
        ValueError: If there are fewer than two members, or the factor is negative.
        TypeError: If something is no reward model, or an argument has another type.

    Reference:
        Coste et al. (2023), arXiv:2310.02743 (there the variance is subtracted); Lakshminarayanan et al. (2017),
        arXiv:1612.01474, for networks that differ by their seeds.
    """

    kind = "ensemble"

    def __init__(
        self,
        members: Sequence[RewardModel] | None = None,
        *,
        pessimism: float = 0.0,
        bootstrap: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if members is not None:
            _check_members(members)
        check_number("pessimism", pessimism, least=0)
        check_flag("bootstrap", bootstrap)
        self.members = tuple(members or ())
        self.pessimism = pessimism
        self.bootstrap = bootstrap
        if all(member.normalisation is not None for member in self.members) and self.members:
            # The members' own scales serve until `normalise` is called.
            self.normalisation = Normalisation(0.0, 1.0, "the members' own")

    def _require_members(self) -> tuple[RewardModel, ...]:
        if not self.members:
            raise ValueError("This ensemble has no members; pass them to its constructor.")
        return self.members

    def _fit(self, feedback: Feedback, held_out: Feedback | None, console: Console | None) -> None:
        for number, member in enumerate(self._require_members()):
            member.fit(feedback.resampled(number) if self.bootstrap else feedback, held_out=held_out, console=console)
            member.normalise(*feedback.texts(), texts="the feedback of the ensemble")
        self.record["members"] = [member.record for member in self.members]

    def score_members(self, prompts: Sequence[str], completions: Sequence[str]) -> EnsembleScores:
        """Return the mean and the disagreement of the members' scores of N texts."""
        members = self._require_members()
        scores = np.array([member.score(prompts, completions) for member in members])  # (members, N)
        return EnsembleScores(scores.mean(0), scores.std(0))

    def raw_scores(
        self, prompts: Sequence[str], completions: Sequence[str], comments: Sequence[str] | None = None
    ) -> Scores:
        """Return mean minus pessimism times disagreement, shape (N,); comments are not read."""
        mean, disagreement = self.score_members(prompts, completions)
        return mean - self.pessimism * disagreement

    @property
    def learns_from_preferences(self) -> bool:
        """Whether a member does."""
        return any(member.learns_from_preferences for member in self.members)

    @property
    def reads_comments(self) -> bool:
        """Whether a member does."""
        return any(member.reads_comments for member in self.members)

    def predictions(self, feedback: Feedback) -> Predictions | None:
        """Return the mean of what the members predict, pessimism left aside; None where they predict different things.

        Where each member has classes of its own, what was observed is the mean over their classes.
        """
        members = self._require_members()
        judged = members[0].judged(feedback)
        found = [one for member in members if (one := member.predictions(judged)) is not None]
        if len(found) < len(members) or len({(one.quantity, one.predicted.shape) for one in found}) > 1:
            return None
        predicted = np.mean([one.predicted for one in found], axis=0)
        observed = np.mean([one.observed for one in found], axis=0)
        return Predictions(predicted, observed, found[0].quantity)

    def judged(self, feedback: Feedback) -> Feedback:
        """Return what the first member judges."""
        return self._require_members()[0].judged(feedback)

    def plain_arguments(self) -> dict[str, Any]:
        """Return the arguments but for the members, which have folders of their own."""
        return {name: value for name, value in super().plain_arguments().items() if name != "members"}

    def _write(self, folder: Path) -> dict[str, Any]:
        from .folder import write_model

        for number, member in enumerate(self.members):
            (folder / f"member-{number}").mkdir()
            write_model(member, folder / f"member-{number}")
        return {"n_members": len(self.members)}

    def _read(self, folder: Path, state: Mapping[str, Any]) -> None:
        from .folder import load_reward_model

        self.members = tuple(load_reward_model(folder / f"member-{number}") for number in range(state["n_members"]))


def _check_members(members: object) -> None:
    if not isinstance(members, Sequence) or isinstance(members, str):
        raise TypeError(f"members must be a list of reward models, got {describe(members)}.")
    for member in members:
        if not isinstance(member, RewardModel):
            raise TypeError(f"members must be reward models, such as RidgeRewardModel(), got {describe(member)}.")
    if len(members) < 2:
        raise ValueError(f"An ensemble must have at least two members, got {len(members)}.")
