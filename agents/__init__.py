"""Stable-Baselines3 policies, buffers and algorithms that work on whole texts."""

from .a2c import A2C
from .completion_policy import GPT2CompletionPolicy
from .decoder import Sampling
from .double_dqn import DoubleDQN
from .dqn import DQN
from .evaluation import Evaluation, evaluate
from .generation import GeneratedEpisode, generate_episodes
from .grpo import GRPO
from .maskable_ppo import MaskableGPT2Policy, MaskablePPO
from .nlpo import NLPO
from .nucleus_policy import NucleusPolicy
from .policy import GPT2Policy
from .ppg import PPG, PhasicPolicy
from .ppo import PPO
from .q_policy import GPT2QPolicy
from .qrdqn import QRDQN
from .quantile_policy import GPT2QuantilePolicy
from .reinforce import REINFORCE, RLOO
from .token_rules import TokenRules
from .trpo import TRPO
from .vec_env import TextGenVecEnv

__all__ = [
    "A2C",
    "DQN",
    "GRPO",
    "NLPO",
    "PPG",
    "PPO",
    "QRDQN",
    "REINFORCE",
    "RLOO",
    "TRPO",
    "DoubleDQN",
    "Evaluation",
    "GPT2CompletionPolicy",
    "GPT2Policy",
    "GPT2QPolicy",
    "GPT2QuantilePolicy",
    "GeneratedEpisode",
    "MaskableGPT2Policy",
    "MaskablePPO",
    "NucleusPolicy",
    "PhasicPolicy",
    "Sampling",
    "TextGenVecEnv",
    "TokenRules",
    "evaluate",
    "generate_episodes",
]
