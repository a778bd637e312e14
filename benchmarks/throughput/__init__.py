"""Cases of the speed table: each makes contestants of equal work, which `speed.py` measures in turn."""

from collections.abc import Callable

from .buffers import buffer_cases
from .environment import environment_cases
from .growth import growth_cases
from .inputs import Setting
from .iteration import iteration_cases
from .measurement import Case
from .q_learning import q_learning_cases
from .rollout import rollout_cases
from .update import update_cases

# A new kind of case is a function here, from the setting to the functions that make its cases one by one.
KINDS: dict[str, Callable[[Setting], list[Callable[[], Case]]]] = {
    "iteration": iteration_cases,
    "rollout": rollout_cases,
    "update": update_cases,
    "dqn": q_learning_cases,
    "environment": environment_cases,
    "buffers": buffer_cases,
    "growth": growth_cases,
}
