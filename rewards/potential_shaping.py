"""A reward that is paid where it is earned instead of at the end."""

from collections.abc import Sequence
from typing import Any

from textgym.reward_protocol import RewardResult, RewardSpec, evaluate_potential, evaluate_reward

from .arguments import check_number
from .composite import RewardWrapper
from .registry import register_reward


@register_reward("potential_shaping")
class PotentialShaping(RewardWrapper):
    """Another reward's score, paid at the tokens that earn it; its sum over a completion is the score.

    r_t = γ Φ(s_t) − Φ(s_{t−1}) for t < T,   r_T = score − Φ(s_{T−1}),   Φ(s_0) = 0

    A token's reward is the potential of the text that ends with it, less that of the text before it; see
    `textgym.shaping.shaped_rewards`. The potential of an unfinished text is the reward's own (such as `Keywords` has),
    by default its score. So the best policy stays the best, provided that gamma is the algorithm's: TextGym's
    algorithms, where it is 1 by default, check that; Stable-Baselines3's own, where it is 0.99, cannot. Below gamma
    1 it is the discounted sum that is kept: that of the score paid at the last token. The reward judges every prefix,
    which takes as many calls as there are tokens.

    In a sum the other terms are paid as without it, at the end or token by token. All doors pay so: environments at
    each step, agents token by token. To shape a whole reward in one algorithm alone, pass it `potential_shaping=True`,
    which takes its gamma.

    Args:
        reward: Any reward, or what names one.
        gamma: Discount factor of the algorithm that trains on it, above 0 and at most 1.
        name: Name of a term of its own, with the score; None for no such term.

    Raises:
        ValueError: If `gamma` is out of range.
        TypeError: If `reward` is no reward, or pays on the way itself, or `gamma` is no number.

    Reference:
        Ng, Harada and Russell (1999), Policy invariance under reward transformations.
    """

    def __init__(self, reward: RewardSpec, gamma: float = 1.0, *, name: str | None = None) -> None:
        super().__init__(reward, name=name)
        check_number("gamma", gamma, above=0)
        if gamma > 1:
            raise ValueError(f"gamma must be at most 1, got {gamma}.")
        self.gamma = gamma

    @property
    def score_range(self) -> tuple[float, float] | None:
        """The reward's range; at gamma 1 also that of the sum over a completion."""
        return self.reward.score_range

    @property
    def is_shaped(self) -> bool:
        """True."""
        return True

    @property
    def shaping_gamma(self) -> float:
        """The discount factor."""
        return self.gamma

    def evaluate(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> RewardResult:
        """Score N finished completions, with the reward's own terms; it is the score that is paid, by potentials."""
        result = evaluate_reward(self.reward, prompts, completions, columns)
        return self.named(result._replace(token_rewards=[None] * len(completions)))

    def potentials(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> list[float]:
        """Return what the reward sees in N unfinished texts: its own potential, or else its score."""
        return evaluate_potential(self.reward, prompts, prefixes, columns)

    def shaping_potentials(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> list[float]:
        """Return the same as `potentials`, since all of the reward is shaped."""
        return self.potentials(prompts, prefixes, **columns)
