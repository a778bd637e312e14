"""Reward models learned from human feedback: ratings, comments and preferences, four families under one interface."""

from .agreement import Agreement, human_ceiling
from .augmentation import augment, reliance
from .calibration import Calibration, draw_reliability
from .counterfactuals import Counterfactual, read_counterfactual
from .ensemble import EnsembleRewardModel
from .evaluation import Evaluation
from .feedback import BadRow, Feedback, Preference, Rating
from .folder import load_reward_model
from .kinds import KINDS, make_ensemble, make_reward_model
from .linear_preferences import LinearPreferenceModel
from .model import Normalisation, RewardModel
from .network_model import NetworkRewardModel
from .pairs import pairs_from_ratings
from .rating_classifiers import LogisticRewardModel, SVMRewardModel
from .rating_regressors import RidgeRewardModel, TreeRewardModel
from .reading import FeedbackError, read_feedback
from .splitting import Split, split_feedback

__all__ = [
    "KINDS",
    "Agreement",
    "BadRow",
    "Calibration",
    "Counterfactual",
    "EnsembleRewardModel",
    "Evaluation",
    "Feedback",
    "FeedbackError",
    "LinearPreferenceModel",
    "LogisticRewardModel",
    "NetworkRewardModel",
    "Normalisation",
    "Preference",
    "Rating",
    "RewardModel",
    "RidgeRewardModel",
    "SVMRewardModel",
    "Split",
    "TreeRewardModel",
    "augment",
    "draw_reliability",
    "human_ceiling",
    "load_reward_model",
    "make_ensemble",
    "make_reward_model",
    "pairs_from_ratings",
    "read_counterfactual",
    "read_feedback",
    "reliance",
    "split_feedback",
]
