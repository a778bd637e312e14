"""The kinds of reward models by name."""

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from textgym.rewards.arguments import check_integer

from .ensemble import EnsembleRewardModel
from .linear_preferences import LinearPreferenceModel
from .model import RewardModel
from .network_model import NetworkRewardModel
from .rating_classifiers import LogisticRewardModel, SVMRewardModel
from .rating_regressors import RidgeRewardModel, TreeRewardModel

KINDS: dict[str, type[RewardModel]] = {
    one.kind: one
    for one in (
        RidgeRewardModel,
        TreeRewardModel,
        LogisticRewardModel,
        SVMRewardModel,
        LinearPreferenceModel,
        NetworkRewardModel,
        EnsembleRewardModel,
    )
}
MEMBER_KINDS = [kind for kind in KINDS if kind != EnsembleRewardModel.kind]


def make_reward_model(kind: str, **arguments: Any) -> RewardModel:
    """Make a reward model of a kind, to be fitted.

    Args:
        kind: One of `KINDS`.
        **arguments: Those of its class.

    Raises:
        ValueError: If there is no such kind or argument (with the nearest match), an argument is out of range, or it is
            an ensemble without members.
    """
    if kind == EnsembleRewardModel.kind and not arguments.get("members"):
        raise ValueError(
            f"An ensemble is made of models of another kind; name that one ({', '.join(MEMBER_KINDS)}) and ask for so "
            "many of it: make_ensemble(kind, 3), on the command line --ensemble 3."
        )
    return construct_reward_model(kind, arguments)


def construct_reward_model(kind: str, arguments: Mapping[str, Any]) -> RewardModel:
    """Make a reward model of a kind, as `make_reward_model`, but also an ensemble whose members are yet to come."""
    found = find_kind(kind)
    names = list(inspect.signature(found).parameters)
    for name in arguments:
        if name not in names:
            raise ValueError(f"A reward model of kind {kind!r} has no argument {name!r}.{_nearest(name, names)}")
    return found(**arguments)


def find_kind(kind: str) -> type[RewardModel]:
    """Return the class of a kind.

    Raises:
        ValueError: If there is none; the nearest match is given.
    """
    if kind not in KINDS:
        raise ValueError(f"There is no kind of reward model {kind!r}.{_nearest(str(kind), MEMBER_KINDS)}")
    return KINDS[kind]


def make_ensemble(kind: str, n_members: int, pessimism: float = 0.0, **arguments: Any) -> EnsembleRewardModel:
    """Make an ensemble of one kind, whose members differ in their seeds, where the kind has one.

    Args:
        kind: One of `KINDS`.
        n_members: How many, at least 2.
        pessimism: Times their disagreement, which is subtracted.
        **arguments: Those of the kind's class; `seed` is the first member's.

    Raises:
        ValueError: As `make_reward_model` and `EnsembleRewardModel`.
    """
    check_integer("n_members", n_members, least=2)
    takes_seed = "seed" in make_reward_model(kind, **arguments).arguments()
    first_seed = arguments.pop("seed", 0)
    seeds = [{"seed": first_seed + number} if takes_seed else {} for number in range(n_members)]
    return EnsembleRewardModel([make_reward_model(kind, **arguments, **seed) for seed in seeds], pessimism=pessimism)


def _nearest(name: str, names: list[str]) -> str:
    matches = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {matches[0]!r}?" if matches else ""
    return f"{hint} Expected one of {', '.join(names)}."
