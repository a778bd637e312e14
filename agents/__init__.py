"""Stable-Baselines3 policies, buffers and algorithms that work on whole texts."""

from .a2c import A2C
from .completion_policy import GPT2CompletionPolicy
from .double_dqn import DoubleDQN
from .dqn import DQN
from .evaluation import Evaluation, evaluate
from .generation import GeneratedEpisode, Sampling, generate_episodes
from .grpo import GRPO
from .policy import GPT2Policy
from .ppo import PPO
from .q_policy import GPT2QPolicy
from .qrdqn import QRDQN
from .quantile_policy import GPT2QuantilePolicy
from .reinforce import REINFORCE, RLOO
from .token_rules import TokenRules
from .vec_env import TextGenVecEnv

__all__ = [
    "A2C",
    "DQN",
    "GRPO",
    "PPO",
    "QRDQN",
    "REINFORCE",
    "RLOO",
    "DoubleDQN",
    "Evaluation",
    "GPT2CompletionPolicy",
    "GPT2Policy",
    "GPT2QPolicy",
    "GPT2QuantilePolicy",
    "GeneratedEpisode",
    "Sampling",
    "TextGenVecEnv",
    "TokenRules",
    "evaluate",
    "generate_episodes",
]
