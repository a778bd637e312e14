"""Whether an algorithm's numbers are numbers, and in their range, before anything is made of them."""

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple


class Range(NamedTuple):
    """What a number may be.

    Attributes:
        least: It is at least this; None for no bound.
        above: It is above this; likewise.
        most: It is at most this; likewise.
        is_whole: It counts something.
        is_optional: It may be None.
        is_schedule: It may also be a function of the remaining progress.
    """

    least: float | None = None
    above: float | None = None
    most: float | None = None
    is_whole: bool = False
    is_optional: bool = False
    is_schedule: bool = False


SHARE = Range(least=0, most=1)
COUNT = Range(least=1, is_whole=True)
RANGES: dict[str, Range] = {
    "learning_rate": Range(least=0, is_schedule=True),
    "n_steps": COUNT._replace(is_optional=True),
    "batch_size": COUNT,
    "n_epochs": COUNT,
    "gamma": SHARE,
    "gae_lambda": SHARE,
    "clip_range": Range(above=0, is_schedule=True),
    "clip_range_vf": Range(above=0, is_optional=True, is_schedule=True),
    "ent_coef": Range(),
    "vf_coef": Range(least=0),
    "max_grad_norm": Range(above=0),
    "target_kl": Range(above=0, is_optional=True),
    "rms_prop_eps": Range(above=0),
    "kl_coef": Range(least=0, is_schedule=True),
    "kl_target": Range(above=0, is_optional=True),
    "kl_horizon": COUNT,
    "self_imitation": SHARE,
    "decode_rows": COUNT,
    "micro_batch_size": COUNT._replace(is_optional=True),
    "temperature": Range(above=0),
    "frozen_layers": Range(least=0, is_whole=True),
    "top_p": Range(above=0, most=1),
    "mask_update_interval": COUNT,
    "n_policy_iterations": COUNT,
    "n_aux_epochs": COUNT,
    "beta_clone": Range(least=0),
    "curvature_share": Range(above=0, most=1),
    "advantage_scale": Range(above=0),
    "n_quantiles": COUNT,
    "cg_max_steps": COUNT,
    "cg_damping": Range(least=0),
    "line_search_shrinking_factor": Range(above=0, most=1),
    "line_search_max_iter": COUNT,
    "n_critic_updates": COUNT,
    "sub_sampling_factor": COUNT,
    "buffer_size": COUNT,
    "learning_starts": Range(least=0, is_whole=True),
    # Of Stable-Baselines3: -1 for as many as there were steps.
    "gradient_steps": Range(least=-1, is_whole=True),
    "target_update_interval": COUNT,
    "tau": Range(above=0, most=1),
    "exploration_fraction": SHARE,
    "exploration_initial_eps": SHARE,
    "exploration_final_eps": SHARE,
    "candidates": COUNT._replace(is_optional=True),
    "stats_window_size": COUNT,
    "seed": Range(least=0, most=2**32 - 1, is_whole=True, is_optional=True),
}

# A word such as "no" would switch them on.
SWITCHES = ("normalize_advantage", "potential_shaping")


def check_numbers(arguments: Mapping[str, Any]) -> None:
    """Look at those arguments of an algorithm that are numbers or switches, by name; others are let pass.

    Raises:
        TypeError: If one is no number or no switch, or a fraction where something is counted.
        ValueError: If one is out of range, or not finite.
    """
    for name, value in arguments.items():
        if name in RANGES:
            _check(name, value, RANGES[name])
        elif name in SWITCHES and not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False, got {value!r}.")


def _check(name: str, value: Any, allowed: Range) -> None:
    if (value is None and allowed.is_optional) or (callable(value) and allowed.is_schedule):
        return
    if isinstance(value, bool) or not isinstance(value, Integral if allowed.is_whole else Real):
        kind = "a whole number" if allowed.is_whole else "a number"
        other = " or a function of the remaining progress" if allowed.is_schedule else ""
        raise TypeError(f"{name} must be {kind}{other}{' or None' if allowed.is_optional else ''}, got {value!r}.")
    number = float(value)
    is_inside = (
        math.isfinite(number)
        and (allowed.least is None or number >= allowed.least)
        and (allowed.above is None or number > allowed.above)
        and (allowed.most is None or number <= allowed.most)
    )
    if not is_inside:
        bounds = {"at least": allowed.least, "above": allowed.above, "at most": allowed.most}
        wanted = " and ".join(f"{words} {bound}" for words, bound in bounds.items() if bound is not None)
        raise ValueError(f"{name} must be {wanted or 'finite'}, got {value}.")
