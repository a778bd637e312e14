"""Update alone: tokens a second, against what the counted operations would take at the rate of matrix products."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from textgym.agents import PPO
from textgym.agents.precision import Autocast

from .inputs import Setting
from .iteration import learn_one_iteration, make_ours
from .limits import has_bfloat16, matrix_product_rate
from .measurement import Case, Contestant, timed

PRECISIONS: tuple[Autocast | None, ...] = (None, "bfloat16")
MOST_TOKENS = 16 * 1024
NO_BFLOAT16 = "the processor has no instructions for it, and PyTorch emulates them"


def update_cases(setting: Setting) -> list[Callable[[], Case]]:
    """Return a case for each precision that the CPU has, and on a GPU one for the setting's alone."""
    if setting.device != "cpu":
        return [partial(_make, setting, {})]
    if has_bfloat16(setting.device):
        return [partial(_make, replace(setting, autocast=autocast), {}) for autocast in PRECISIONS]
    return [partial(_make, replace(setting, autocast=None), {"TextGym update, bfloat16": NO_BFLOAT16})]


def _make(setting: Setting, skipped: dict[str, str]) -> Case:
    # Minibatches of a whole rollout's tokens, as far as they fit, and of the setting's.
    whole = min(setting.rollout_tokens, MOST_TOKENS)
    batch_sizes = sorted({whole, setting.batch_size}, reverse=True)
    updates = {size: filled(replace(setting, batch_size=size)) for size in batch_sizes}
    contestants = [
        Contestant(
            f"TextGym update, minibatches of {size:,} tokens",
            timed(partial(update, algorithm), setting.seconds),
            is_ours=True,
        )
        for size, algorithm in updates.items()
    ]
    operations = operations_of(updates[whole])
    n_tokens = setting.n_epochs * setting.rollout_tokens
    dtype = getattr(torch, setting.precision)

    def limit() -> float:
        return n_tokens * matrix_product_rate(setting.device, dtype) / operations

    contestants.append(Contestant("the same operations at the rate of matrix products", limit, is_limit=True))
    sizes = {
        "sizes": setting.describe(),
        "n_epochs": setting.n_epochs,
        "dtype": setting.precision,
        "operations_a_token": operations / n_tokens,
    }
    return Case(f"update alone, {setting.precision}", "tokens/s", sizes, contestants, skipped)


def filled(setting: Setting) -> PPO:
    """Return an algorithm that has a rollout to learn from."""
    algorithm = make_ours(setting, with_reference=False)
    learn_one_iteration(algorithm, setting.rollout_tokens)
    return algorithm


def update(algorithm: PPO) -> int:
    """Go through the rollout once an epoch, and return the tokens learned from, counted anew for each epoch."""
    algorithm.train()
    return algorithm.n_epochs * algorithm.rollout_buffer.n_tokens


def operations_of(algorithm: PPO) -> int:
    """Count the floating-point operations of one update, those of matrix products alone.

    A forward pass is counted, and twice as much for the backward pass; what is computed in it again, to save memory, is
    not work that had to be done.
    """
    (batch,) = algorithm.rollout_buffer.get(None)
    # Compiled functions would hide their products.
    as_written = nullcontext() if algorithm.device.type == "cpu" else torch.compiler.set_stance("force_eager")
    with torch.no_grad(), as_written, FlopCounterMode(display=False) as counter:
        algorithm.policy.evaluate_actions(batch.observations, batch.actions)
    return 3 * algorithm.n_epochs * int(counter.get_total_flops())
