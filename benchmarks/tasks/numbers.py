"""`TextGen-IncreasingNumbers-v0`: go on counting."""

from typing import Any, ClassVar

from textgym.env import TextGenEnv
from textgym.task_arguments import TaskArguments
from textgym.vector import TextGenVectorEnv

from .splits import Split, every_nth

HIGHEST_START = 100
HELD_OUT_EVERY = 5


def number_prompts(split: Split) -> list[str]:
    """Return three numbers in a row, from 1 or from up to 100 on: 80 prompts to train on or 20 to evaluate on."""
    prompts = [f"{start} {start + 1} {start + 2}" for start in range(1, HIGHEST_START + 1)]
    return every_nth(prompts, split, HELD_OUT_EVERY)


class IncreasingNumbersEnv(TextGenEnv):
    """Go on counting: a form that text hardly ever has, with a reward that grows by each number.

    ## Description
    RL4LMs' task for testing an algorithm in minutes. The bundled GPT-2 gets three numbers in a row and goes on, at
    first with prose. Of 100 such prompts 20 are held out. Each number counts that is greater than the one before, and
    each word that is none costs, so that the way from prose to numbers pays at every step. The prompt does not count:
    a policy that always writes 1 to 20 has won.

    ## Action Space
    `Discrete(V)`: a token of the bundled model.

    ## Observation Space
    That of `TextGen-v0`.

    ## Reward
    `NumericOrder()`: the numbers that increase from the first one on, divided by the words, of which at least ten are
    counted; 0 to 1.

    ## Episode End
    At the end of the sequence, or after 48 tokens.

    ## Info
    That of `TextGen-v0`.

    ## Arguments
    Those of `TextGen-v0`, with other defaults.

    ## Training
    `textgym train --task` generates 40,000 tokens, unless told otherwise.

    ## Reference Scores
    On held-out prompts, tokens sampled:

    | policy | score |
    |---|---:|
    | random tokens | 0.005 |
    | untrained model | 0.041 |
    | PPO, 40,000 tokens | 0.394 |
    | optimum | 1.000 |

    Solved at 0.80.

    ## Version History
    v0: first version.
    """

    defaults: ClassVar[TaskArguments] = {
        "prompts": {f"{__name__}:number_prompts": {"split": "train"}},
        "reward": "numeric_order",
        "max_new_tokens": 48,
    }
    training: ClassVar[dict[str, Any]] = {
        "total_tokens": 40_000,
        "algorithm": {"learning_rate": 3e-4, "tokens_per_rollout": 2048},
        "evaluation": {"eval_prompts": {f"{__name__}:number_prompts": {"split": "held_out"}}},
    }


class IncreasingNumbersVectorEnv(TextGenVectorEnv):
    """Many episodes of `IncreasingNumbersEnv` at a time."""

    defaults: ClassVar[TaskArguments] = IncreasingNumbersEnv.defaults
