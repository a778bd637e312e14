"""`TextGen-Arithmetic-v0`: add two digits; the answer stands in a column, and is right or wrong."""

from itertools import product
from typing import Any, ClassVar

from textgym.env import TextGenEnv
from textgym.task_arguments import TaskArguments
from textgym.vector import TextGenVectorEnv

from .splits import Split, check_split

SYMBOLS = "0123456789+="
HELD_OUT_EVERY = 4


def sum_prompts(split: Split) -> list[dict[str, str]]:
    """Return the sums to train on or to evaluate on, each with its answer; the latter are trained on as b + a."""
    check_split(split)
    pairs = [(a, b) for a, b in product(range(10), repeat=2) if _is_held_out(a, b) == (split == "held_out")]
    return [{"prompt": f"{a}+{b}=", "answer": str(a + b)} for a, b in pairs]


def _is_held_out(a: int, b: int) -> bool:
    return a > b and (a + b) % HELD_OUT_EVERY == 0


class ArithmeticEnv(TextGenEnv):
    """Add two digits: a verifiable answer, and nothing for a wrong one.

    ## Description
    A prompt is a sum such as "7+5="; the completion should be "12" and the end. The vocabulary is ten digits, "+", "="
    and the end, and the model a GPT-2 of 2 blocks and width 64 with random weights. Of the 100 sums, 90 are trained
    on. The other 10 are held out, and are known the other way round: 7+5 from 5+7. The reward is rare at first and
    says nothing of a wrong answer's distance, which makes this a test of exploration.

    ## Action Space
    `Discrete(13)`: a symbol or the end of the sequence.

    ## Observation Space
    That of `TextGen-v0`.

    ## Reward
    `AnswerMatch()`: 1 for the right digits alone, else 0. The answer reaches it as the column `answer`.

    ## Episode End
    At the end of the sequence, or after 4 tokens, one more than are needed.

    ## Info
    That of `TextGen-v0`.

    ## Arguments
    Those of `TextGen-v0`, with other defaults.

    ## Training
    `textgym train --task` generates 100,000 tokens, unless told otherwise.

    ## Reference Scores
    On held-out prompts, tokens sampled:

    | policy | score |
    |---|---:|
    | random tokens | 0.008 |
    | untrained model | 0.004 |
    | optimum | 1.000 |

    Solved at 0.90.

    ## Version History
    v0: first version.
    """

    defaults: ClassVar[TaskArguments] = {
        "tokenizer": f"symbols:{SYMBOLS}",
        "prompts": {f"{__name__}:sum_prompts": {"split": "train"}},
        "reward": "answer_match",
        "max_prompt_tokens": 4,
        "max_new_tokens": 4,
    }
    training: ClassVar[dict[str, Any]] = {
        "total_tokens": 100_000,
        "algorithm": {
            "learning_rate": 1e-3, "tokens_per_rollout": 1024, "batch_size": 512, "n_epochs": 4, "kl_coef": 0.0,
            "potential_shaping": False,
        },
        "evaluation": {"eval_prompts": {f"{__name__}:sum_prompts": {"split": "held_out"}}},
    }  # fmt: skip


class ArithmeticVectorEnv(TextGenVectorEnv):
    """Many episodes of `ArithmeticEnv` at a time."""

    defaults: ClassVar[TaskArguments] = ArithmeticEnv.defaults
