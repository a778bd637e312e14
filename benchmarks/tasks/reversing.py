"""`TextGen-Reverse-v0`: write the prompt backwards."""

from typing import Any, ClassVar

from textgym.env import TextGenEnv
from textgym.task_arguments import TaskArguments
from textgym.vector import TextGenVectorEnv

from .strings import ALPHABET, ASK, LENGTH, split_strings


def train_prompts() -> list[dict[str, str]]:
    """Return the prompts to train on, each with its answer."""
    return [{"prompt": text + ASK, "answer": text[::-1]} for text in split_strings()[0]]


def held_out_prompts() -> list[dict[str, str]]:
    """Return the prompts to evaluate on."""
    return [{"prompt": text + ASK, "answer": text[::-1]} for text in split_strings()[1]]


class ReverseEnv(TextGenEnv):
    """Write the prompt backwards: as small as `TextGen-Copy-v0`, but the distance to what is copied changes.

    ## Description
    A prompt is three of the letters a to d and ">"; the completion should be the same letters from the last to the
    first, and the end. Vocabulary, model, and strings held out are those of `TextGen-Copy-v0`.

    ## Action Space
    `Discrete(6)`: a letter, ">" or the end of the sequence.

    ## Observation Space
    That of `TextGen-v0`.

    ## Reward
    `AnswerMatch(partial=True)`: the share of places with the right letter, 0 to 1; 1 for the three letters alone.

    ## Episode End
    At the end of the sequence, or after 5 tokens, one more than are needed.

    ## Info
    That of `TextGen-v0`.

    ## Arguments
    Those of `TextGen-v0`, with other defaults.

    ## Reference Scores
    On held-out prompts, tokens sampled:

    | policy | score |
    |---|---:|
    | random tokens | 0.099 |
    | untrained model | 0.110 |
    | optimum | 1.000 |

    Solved at 0.95.

    ## Version History
    v0: first version.
    """

    defaults: ClassVar[TaskArguments] = {
        "tokenizer": f"symbols:{ALPHABET}{ASK}",
        "prompts": f"{__name__}:train_prompts",
        "reward": {"answer_match": {"partial": True}},
        "max_prompt_tokens": LENGTH + 1,
        "max_new_tokens": LENGTH + 2,
    }
    training: ClassVar[dict[str, Any]] = {
        "total_tokens": 30_000,
        "algorithm": {
            "learning_rate": 1e-3,
            "tokens_per_rollout": 512,
            "batch_size": 256,
            "n_epochs": 4,
            "kl_coef": 0.0,
        },
        "evaluation": {"eval_prompts": f"{__name__}:held_out_prompts", "sample_every": 10_000},
    }


class ReverseVectorEnv(TextGenVectorEnv):
    """Many episodes of `ReverseEnv` at a time."""

    defaults: ClassVar[TaskArguments] = ReverseEnv.defaults
