"""A reward that does not judge the same completion twice."""

import pickle
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from textgym.reward_protocol import PotentialReward, RewardResult, RewardSpec, evaluate_potential, evaluate_reward
from textgym.reward_validation import is_column, select_items

from .arguments import check_integer
from .composite import RewardWrapper
from .registry import register_reward

_PLAIN = frozenset({str, int, float, type(None)})


class _Judged(NamedTuple):
    """What the reward made of one completion."""

    score: float
    terms: dict[str, float | None]
    token_rewards: list[float] | None
    applies: bool


@register_reward("cached")
class Cached(RewardWrapper):
    """Another reward, asked only once for the same prompt, completion, tokens and columns.

    For rewards that are slow and always answer alike, such as a model or a server. One whose answer depends on the rest
    of the batch or on what was before, such as `Whiten`, goes around it: `Whiten(Cached(reward))`. The completion used
    longest ago is forgotten first. Copies, as for another process, begin with nothing remembered.

    Args:
        reward: Any reward, or what names one.
        size: Completions to remember, at least 1.
        name: Name of a term of its own; None reports only the reward's terms.

    Raises:
        ValueError: If `size` is below 1.
        TypeError: If `reward` is no reward, or pays on the way, or `size` is no integer.
    """

    def __init__(self, reward: RewardSpec, size: int = 100_000, *, name: str | None = None) -> None:
        super().__init__(reward, name=name)
        check_integer("size", size, least=1)
        self.size = size
        self._judged: OrderedDict[Hashable, _Judged] = OrderedDict()

    @property
    def score_range(self) -> tuple[float, float] | None:
        """The reward's range."""
        return self.reward.score_range

    def evaluate(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> RewardResult:
        """Score N completions, asking the reward for those that are new, each once."""
        size = len(completions)
        arguments = {"prompts": prompts, "completions": completions, **columns}
        per_item = [(name, arguments[name]) for name in sorted(arguments) if is_column(arguments[name], size)]
        keys: list[Hashable] = [
            tuple((name, _hashable(values[index])) for name, values in per_item) for index in range(size)
        ]
        found: dict[Hashable, _Judged] = {key: self._judged[key] for key in keys if key in self._judged}
        new = list({key: index for index, key in enumerate(keys) if key not in found}.values())
        if new:
            result = evaluate_reward(
                self.reward,
                [prompts[index] for index in new],
                [completions[index] for index in new],
                select_items(columns, size, new),
            )
            for position, index in enumerate(new):
                terms = {name: values[position] for name, values in result.terms.items()}
                applies = result.applies_to(position)
                found[keys[index]] = _Judged(result.scores[position], terms, result.token_rewards[position], applies)
        self._remember(keys, found)
        judged = [found[key] for key in keys]
        names = list(dict.fromkeys(name for one in judged for name in one.terms))
        return self.named(
            RewardResult(
                [one.score for one in judged],
                {name: [one.terms.get(name) for one in judged] for name in names},
                [one.token_rewards and list(one.token_rewards) for one in judged],
            ).that_applies([one.applies for one in judged])
        )

    def potentials(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> list[float]:
        """Return what the reward sees in N unfinished texts; remembered where that is its score."""
        inner: object = self.reward
        if isinstance(inner, PotentialReward):
            return evaluate_potential(self.reward, prompts, prefixes, columns)
        return self.evaluate(prompts, prefixes, **columns).scores

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_judged": OrderedDict()}

    def _remember(self, keys: Sequence[Hashable], found: dict[Hashable, _Judged]) -> None:
        for key in keys:
            self._judged[key] = found[key]
            self._judged.move_to_end(key)
        while len(self._judged) > self.size:
            self._judged.popitem(last=False)


def _hashable(value: object) -> Hashable:
    """Return something that is equal for equal values, and can be looked up."""
    if isinstance(value, str | int | float | type(None)):
        return value
    if isinstance(value, list | tuple):
        if _PLAIN.issuperset(map(type, value)):  # such as token ids, of which there are many
            return tuple(value)
        return tuple(map(_hashable, value))
    return pickle.dumps(value)
