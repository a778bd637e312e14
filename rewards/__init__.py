"""Reward functions: rules, how they add up, and their names."""

from .answers import AnswerMatch
from .composition import build_reward
from .function import RewardFunction
from .keywords import BannedWords, Keywords
from .length import LengthWindow
from .plain import as_reward
from .reference_task import reference_task
from .registry import find_reward, register_reward, reward_names
from .weighted_sum import WeightedSum

__all__ = [
    "AnswerMatch",
    "BannedWords",
    "Keywords",
    "LengthWindow",
    "RewardFunction",
    "WeightedSum",
    "as_reward",
    "build_reward",
    "find_reward",
    "reference_task",
    "register_reward",
    "reward_names",
]
