"""Potential-based shaping: a score is paid at the tokens that earn it, and still sums to the score."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from .task import FinishedEpisode, Judgement, TextTask


@runtime_checkable
class ShapedReward(Protocol):
    """A reward that may ask to be paid where it is earned, wholly or, as a sum, in part.

    Attributes:
        is_shaped: Whether it asks for that.
    """

    @property
    def is_shaped(self) -> bool:
        """Whether `shaping_potentials` says what is to be paid on the way."""
        ...

    def shaping_potentials(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> Sequence[float]:
        """Return what the part that is to be shaped promises for each of N unfinished texts; finite numbers."""
        ...


def asks_for_shaping(reward: object) -> bool:
    """Tell whether a reward, or a term of it, is to be paid where it is earned."""
    # Few do, and the attribute is looked up a hundred times as fast as the protocol.
    return getattr(reward, "is_shaped", False) and isinstance(reward, ShapedReward)


def shaped_rewards(potentials: Sequence[float], score: float) -> list[float]:
    """Return the reward of each of T tokens: the potential of the text that ends with it, less that before it.

    r_t = Φ(s_t) − Φ(s_{t−1}),   Φ(s_0) = 0,   Φ(s_T) = score

    The sum telescopes to the score, so that at gamma 1 the best policy stays the best.

    Args:
        potentials: Φ(s_1) … Φ(s_{T−1}), of the texts before the last token.
        score: The score of the finished text.

    Reference:
        Ng, Harada and Russell (1999), Policy invariance under reward transformations, eq. 2.
    """
    return [after - before for before, after in pairwise([0.0, *potentials, score])]


def pay_where_earned(
    task: "TextTask",
    episodes: Sequence["FinishedEpisode"],
    judgements: Sequence["Judgement"],
    potentials: "Callable[[Sequence[FinishedEpisode]], Sequence[float]]",
) -> "list[Judgement]":
    """Give each judgement the token rewards of `shaped_rewards`; one that has token rewards already keeps those.

    Args:
        task: Decodes the texts before the last token.
        episodes: N finished episodes.
        judgements: What the reward makes of them, length N.
        potentials: Φ, such as `task.potentials`; called once with the prefixes of all episodes.
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
            judgement = judgement._replace(token_rewards=shaped_rewards(inner, judgement.score))
        shaped.append(judgement)
    return shaped
