"""`TextGen-Sentiment-v0`: go on with the opening of a film review so that it praises."""

from typing import Any, ClassVar

from textgym.env import TextGenEnv
from textgym.prompts import BUNDLED_PROMPTS_FILE, read_jsonl
from textgym.task_arguments import TaskArguments
from textgym.vector import TextGenVectorEnv

from .splits import Split, check_split

TOPIC = "films"


def film_openings(split: Split) -> list[str]:
    """Return the bundled prompts on films, 75 to train on or 25 to evaluate on."""
    check_split(split)
    rows = [row for _, row in read_jsonl(BUNDLED_PROMPTS_FILE)]
    return [row["prompt"] for row in rows if row["topic"] == TOPIC and row["split"] == split]


class SentimentEnv(TextGenEnv):
    """Go on with the opening of a film review so that it praises: the task that papers begin with.

    ## Description
    The bundled GPT-2, a third of whose texts were film reviews, goes on with 75 openings of such; 25 are held out. It
    writes praise and blame about equally often. The reward is a lexicon, and a policy will find its strongest words,
    so KL tells how much was given up for it. What somebody else would say of the texts tells more: `--judge FOLDER`
    (or a hub name, such as `lvwerra/distilbert-imdb`) has a learned judge score the completions of the evaluation.
    It is kept apart, and nothing is trained on it.

    ## Action Space
    `Discrete(V)`: a token of the bundled model.

    ## Observation Space
    That of `TextGen-v0`.

    ## Reward
    `Sentiment()`: VADER's compound score of the completion, −1 to 1; 0 for an empty one. Needs the extra `sentiment`.

    ## Episode End
    At the end of the sequence, or after 32 tokens.

    ## Info
    That of `TextGen-v0`.

    ## Arguments
    Those of `TextGen-v0`, with other defaults.

    ## Training
    `textgym train --task` generates 60,000 tokens, unless told otherwise.

    ## Reference Scores
    On held-out prompts, tokens sampled:

    | policy | score |
    |---|---:|
    | random tokens | 0.093 |
    | untrained model | 0.090 |
    | PPO, 60,000 tokens | 0.966 |
    | PPG, 30,000 tokens, tuned | 0.990 |

    Solved at 0.90.

    ## Version History
    v0: first version.
    """

    defaults: ClassVar[TaskArguments] = {
        "prompts": {f"{__name__}:film_openings": {"split": "train"}},
        "reward": "sentiment",
        "max_new_tokens": 32,
    }
    training: ClassVar[dict[str, Any]] = {
        "total_tokens": 60_000,
        "algorithm": {"learning_rate": 3e-4, "self_imitation": 0.0, "tokens_per_rollout": 2048},
        "evaluation": {"eval_prompts": {f"{__name__}:film_openings": {"split": "held_out"}}},
    }


class SentimentVectorEnv(TextGenVectorEnv):
    """Many episodes of `SentimentEnv` at a time."""

    defaults: ClassVar[TaskArguments] = SentimentEnv.defaults
