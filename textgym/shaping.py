"""Potential-based shaping: a score is paid at the tokens that earn it, and still sums to the score."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from .episodes import FinishedEpisode, Judgement
    from .task import TextTask


@runtime_checkable
class ShapedReward(Protocol):
    """A reward that may ask to be paid where it is earned, wholly or, as a sum, in part.

    Attributes:
        is_shaped: Whether it asks for that.
        shaping_gamma: The discount factor of the algorithm that it is for.
    """

    @property
    def is_shaped(self) -> bool:
        """Whether `shaping_potentials` says what is to be paid on the way."""
        ...

    @property
    def shaping_gamma(self) -> float:
        """Discount factor with which the potentials telescope, above 0 and at most 1."""
        ...

    def shaping_potentials(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> Sequence[float]:
        """Return what the part that is to be shaped promises for each of N unfinished texts; finite numbers."""
        ...


def asks_for_shaping(reward: object) -> bool:
    """Tell whether a reward, or a term of it, is to be paid where it is earned."""
    # Few do, and the attribute is looked up a hundred times as fast as the protocol.
    return getattr(reward, "is_shaped", False) and isinstance(reward, ShapedReward)


def shaping_gamma(reward: object) -> float:
    """Return the discount factor that a reward is shaped for; 1 where it is not shaped."""
    return reward.shaping_gamma if asks_for_shaping(reward) and isinstance(reward, ShapedReward) else 1.0


def require_same_gamma(reward: object, gamma: float, algorithm: str) -> None:
    """Refuse a reward that is shaped for another discount factor than the algorithm's.

    Args:
        reward: Any reward.
        gamma: The algorithm's discount factor.
        algorithm: Its name.

    Raises:
        ValueError: If the reward asks for shaping with another gamma: the best policy would not stay the best.
    """
    expected = shaping_gamma(reward)
    if asks_for_shaping(reward) and expected != gamma:
        raise ValueError(
            f"PotentialShaping must have the gamma of the algorithm, or it changes which policy is the best: got gamma "
            f"{expected:g} in the reward {reward!r}, and {gamma:g} in {algorithm}. Write "
            f"PotentialShaping(…, gamma={gamma:g}), or give {algorithm} gamma={expected:g}."
        )


def shaped_rewards(potentials: Sequence[float], score: float, gamma: float = 1.0) -> list[float]:
    """Return the reward of each of T tokens: the potential of the text that ends with it, less that before it.

    r_t = γ Φ(s_t) − Φ(s_{t−1}) for t < T,   r_T = score − Φ(s_{T−1}),   Φ(s_0) = 0

    The discounted sum telescopes to that of the score at the last token, γ^{T−1} · score; so for an algorithm with the
    same gamma the best policy stays the best. At gamma 1 it is the plain sum that is the score.

    Args:
        potentials: Φ(s_1) … Φ(s_{T−1}), of the texts before the last token.
        score: The score of the finished text.
        gamma: Discount factor of the algorithm, above 0 and at most 1.

    Reference:
        Ng, Harada and Russell (1999), Policy invariance under reward transformations, eq. 2.
    """
    promised = [gamma * potential for potential in potentials]
    return [after - before for before, after in zip([0.0, *potentials], [*promised, score], strict=True)]


def pay_where_earned(
    task: "TextTask",
    episodes: Sequence["FinishedEpisode"],
    judgements: Sequence["Judgement"],
    potentials: "Callable[[Sequence[FinishedEpisode]], Sequence[float]]",
    gamma: float = 1.0,
    *,
    adds_to_token_rewards: bool = False,
) -> "list[Judgement]":
    """Give each judgement the token rewards of `shaped_rewards`.

    Args:
        task: Decodes the texts before the last token.
        episodes: N finished episodes.
        judgements: What the reward makes of them, length N.
        potentials: Φ, such as `task.potentials`; called once with the prefixes of all episodes.
        gamma: Discount factor of the algorithm.
        adds_to_token_rewards: What becomes of a judgement that has token rewards: the potentials' part of
            `shaped_rewards` comes on top of them, as it has to where Φ is of another term of the reward; else they
            stay as they are.
    """
    prefixes = [
        task.finish(episode.prompt, episode.token_ids[:length], "length")
        for episode in episodes
        for length in range(1, len(episode.token_ids))
    ]
    values = iter(potentials(prefixes))
    shaped = []
    for episode, judgement in zip(episodes, judgements, strict=True):
        inner = [next(values) for _ in range(len(episode.token_ids) - 1)]
        if judgement.token_rewards is None:
            judgement = judgement._replace(token_rewards=shaped_rewards(inner, judgement.score, gamma))
        elif adds_to_token_rewards and episode.token_ids:
            added = shaped_rewards(inner, 0.0, gamma)  # the score is in the token rewards, at the latest at their end
            both = zip(judgement.token_rewards, added, strict=True)
            judgement = judgement._replace(token_rewards=[one + other for one, other in both])
        shaped.append(judgement)
    return shaped
