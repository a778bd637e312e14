"""`TextGen-Copy-v0` and `TextGen-Reverse-v0`: write a short string again, forwards or backwards."""

from itertools import product
from typing import Any, ClassVar

import numpy as np

from textgym.env import TextGenEnv
from textgym.task_arguments import TaskArguments
from textgym.vector import TextGenVectorEnv

from .splits import Split, check_split

ALPHABET = "abcd"
ASK = ">"  # stands behind what is to be written
LENGTH = 3
HELD_OUT_SHARE = 0.2


def string_prompts(split: Split, backwards: bool = False) -> list[dict[str, str]]:
    """Return all strings of three letters, 51 to train on or 13 to evaluate on, each with its answer."""
    check_split(split)
    strings = ["".join(characters) for characters in product(ALPHABET, repeat=LENGTH)]
    shuffled = [strings[index] for index in np.random.default_rng(0).permutation(len(strings))]
    n_held_out = round(HELD_OUT_SHARE * len(shuffled))
    chosen = shuffled[n_held_out:] if split == "train" else shuffled[:n_held_out]
    return [{"prompt": text + ASK, "answer": text[::-1] if backwards else text} for text in chosen]


def _prompts(split: Split, backwards: bool) -> Any:
    return {f"{__name__}:string_prompts": {"split": split, "backwards": backwards}}


def _defaults(backwards: bool) -> TaskArguments:
    return {
        "tokenizer": f"symbols:{ALPHABET}{ASK}",
        "prompts": _prompts("train", backwards),
        "reward": {"answer_match": {"partial": True}},
        "max_prompt_tokens": LENGTH + 1,
        "max_new_tokens": LENGTH + 2,
    }


def _training(backwards: bool) -> dict[str, Any]:
    return {
        "total_tokens": 30_000,
        "algorithm": {
            "learning_rate": 1e-3,
            "tokens_per_rollout": 512,
            "batch_size": 256,
            "n_epochs": 4,
            "kl_coef": 0.0,
        },
        "evaluation": {"eval_prompts": _prompts("held_out", backwards), "sample_every": 10_000},
    }


class CopyEnv(TextGenEnv):
    """Write the prompt again: the smallest task whose answer depends on the prompt.

    ## Description
    A prompt is three of the letters a to d and ">"; the completion should be the same three letters and the end. The
    vocabulary has six tokens, and the model is a GPT-2 of 2 blocks and width 64 with random weights, so that an
    algorithm that works solves the task in seconds, and one that does not shows it as fast. 51 strings are trained
    on, the other 13 are held out.

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

    ## Training
    `textgym train --task` generates 30,000 tokens, unless told otherwise.

    ## Reference Scores
    On held-out prompts, tokens sampled:

    | policy | score |
    |---|---:|
    | random tokens | 0.103 |
    | untrained model | 0.112 |
    | optimum | 1.000 |

    Solved at 0.95.

    ## Version History
    v0: first version.
    """

    defaults: ClassVar[TaskArguments] = _defaults(backwards=False)
    training: ClassVar[dict[str, Any]] = _training(backwards=False)


class CopyVectorEnv(TextGenVectorEnv):
    """Many episodes of `CopyEnv` at a time."""

    defaults: ClassVar[TaskArguments] = CopyEnv.defaults


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

    ## Training
    `textgym train --task` generates 30,000 tokens, unless told otherwise.

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

    defaults: ClassVar[TaskArguments] = _defaults(backwards=True)
    training: ClassVar[dict[str, Any]] = _training(backwards=True)


class ReverseVectorEnv(TextGenVectorEnv):
    """Many episodes of `ReverseEnv` at a time."""

    defaults: ClassVar[TaskArguments] = ReverseEnv.defaults
