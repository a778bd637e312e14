"""Reward functions: rules, models and servers, how they combine, and their names."""

from .answers import AnswerMatch
from .cached import Cached
from .checking import check_reward
from .clip import Clip
from .composition import build_reward
from .conversational import Conversational
from .extras import MissingPackageError
from .function import RewardFunction
from .gate import Gate
from .http_reward import HttpReward
from .json_valid import JsonValid
from .keywords import BannedWords, Keywords
from .length import LengthWindow
from .numeric_order import NumericOrder
from .pattern import Regex
from .perplexity import Perplexity
from .plain import as_reward
from .plain_data import reward_to_data
from .potential_shaping import PotentialShaping
from .readability import Readability
from .reasoning import ReasoningAnswer
from .reference_task import reference_task
from .registry import find_reward, register_reward, reward_names
from .repetition import Repetition
from .sentence_end import EndsSentence
from .sentiment import Sentiment
from .sequence_classifier import SequenceClassifier
from .similarity import Similarity
from .timed import Timed
from .toxicity import Toxicity
from .weighted_sum import WeightedSum
from .whiten import Whiten

# In plain data `named: {function: my_module:f, name: style}` gives a function's term another name.
register_reward("named")(as_reward)

__all__ = [
    "AnswerMatch",
    "BannedWords",
    "Cached",
    "Clip",
    "Conversational",
    "EndsSentence",
    "Gate",
    "HttpReward",
    "JsonValid",
    "Keywords",
    "LengthWindow",
    "MissingPackageError",
    "NumericOrder",
    "Perplexity",
    "PotentialShaping",
    "Readability",
    "ReasoningAnswer",
    "Regex",
    "Repetition",
    "RewardFunction",
    "Sentiment",
    "SequenceClassifier",
    "Similarity",
    "Timed",
    "Toxicity",
    "WeightedSum",
    "Whiten",
    "as_reward",
    "build_reward",
    "check_reward",
    "find_reward",
    "reference_task",
    "register_reward",
    "reward_names",
    "reward_to_data",
]
