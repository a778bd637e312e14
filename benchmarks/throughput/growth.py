"""Growth: speed and peak memory of an iteration with completions, environments and vocabulary of several sizes."""

import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import torch

from textgym.allocator import keep_freed_memory

from .inputs import Setting
from .iteration import learn_one_iteration, make_ours
from .measurement import Case, Contestant, finish_device_work

# A first iteration that takes longer is not repeated: what it sets up hardly counts.
LONG_SECONDS = 10.0


class Point(NamedTuple):
    """What one size costs.

    Attributes:
        tokens_per_second: Speed of an iteration with reference KL.
        peak_mib: Memory beyond that of the process before, in MiB; on a GPU the GPU's.
    """

    tokens_per_second: float
    peak_mib: float


def growth_cases(setting: Setting) -> list[Callable[[], Case]]:
    """Return cases of speed and of memory, along completions, environments and vocabulary where it has several."""
    # Minibatches hold whole episodes, so they are as large everywhere as the longest one wants.
    batch_size = max(setting.batch_size, *setting.growing_tokens)
    of_tokens = {size: replace(setting, new_tokens=size, batch_size=batch_size) for size in setting.growing_tokens}
    of_envs = {size: replace(setting, num_envs=size) for size in setting.growing_envs}
    of_vocab = {size: replace(setting, vocab_size=size) for size in setting.growing_vocab}
    # The very shortest is mostly overhead.
    base_tokens = setting.growing_tokens[1 if len(setting.growing_tokens) > 2 else 0]
    cases: list[Callable[[], Case]] = []
    for what, settings, base in (
        ("new tokens", of_tokens, base_tokens),
        ("environments", of_envs, setting.num_envs),
        ("tokens of vocabulary", of_vocab, setting.vocab_size),
    ):
        if len(settings) > 1:
            cases += [partial(_make, what, settings, base, attribute) for attribute in Point._fields]
    return cases


def _make(what: str, settings: dict[int, Setting], base: int, attribute: str) -> Case:
    # The largest stands for the case.
    contestants = [
        Contestant(f"{size:,} {what}", partial(_number, settings[size], attribute), is_ours=True, most_repeats=1)
        for size in sorted(settings, reverse=True)
    ]
    is_speed = attribute == "tokens_per_second"
    sizes: dict[str, object] = {"sizes": settings[base].describe(), "dtype": settings[base].precision}
    return Case(
        f"{'speed' if is_speed else 'peak memory'} of an iteration, {what}",
        "tokens/s" if is_speed else "MiB",
        sizes,
        contestants,
        compared_with=f"{base:,} {what}",
        is_lower_better=not is_speed,
    )


def _number(setting: Setting, attribute: str) -> float:
    return float(getattr(measure_point(setting), attribute))


@cache
def measure_point(setting: Setting) -> Point:
    """Measure one size in a process of its own, whose peak of memory is its own; once for each."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure_here, setting, torch.get_num_threads()).result()


def _measure_here(setting: Setting, threads: int) -> Point:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(threads)
    keep_freed_memory()
    before = peak_mib(setting.device)
    algorithm = make_ours(setting, with_reference=True)
    seconds = [_seconds_of_iteration(setting, algorithm)]
    if seconds[0] < LONG_SECONDS:
        seconds.append(_seconds_of_iteration(setting, algorithm))
    return Point(setting.rollout_tokens / seconds[-1], peak_mib(setting.device) - before)


def _seconds_of_iteration(setting: Setting, algorithm: object) -> float:
    started = time.perf_counter()
    learn_one_iteration(algorithm, setting.rollout_tokens)  # type: ignore[arg-type]
    finish_device_work()
    return time.perf_counter() - started


def peak_mib(device: str) -> float:
    """Return the most memory that this process has had at a time, in MiB; on a GPU that of its tensors."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")
    if status.is_file():
        # Unlike getrusage's figure, not inherited from the process that started this one.
        lines = status.read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
