"""`TextGen-Length-v0`: end the text after twelve to sixteen words."""

from typing import Any, ClassVar

from textgym.env import TextGenEnv
from textgym.task_arguments import TaskArguments
from textgym.vector import TextGenVectorEnv


class LengthEnv(TextGenEnv):
    """End the text after twelve to sixteen words: a skill of one token, the end, learned on real text.

    ## Description
    The bundled GPT-2 goes on with the prompts of the reference task, of which 100 are held out. What is asked is only
    when to stop, so that an algorithm is seen to work before it is asked for content; a policy that also keeps its KL
    low has learned nothing else. The reward counts words and does not ask who ended them: a text that the budget cuts
    off wins as well, if its words are long and few. The share of ended completions, in each evaluation, tells one from
    the other.

    ## Action Space
    `Discrete(V)`: a token of the bundled model.

    ## Observation Space
    That of `TextGen-v0`.

    ## Reward
    `LengthWindow(12, 16, unit="words")`: 1 inside the window, falling linearly to 0 at no word and at 32.

    ## Episode End
    At the end of the sequence, or after 48 tokens.

    ## Info
    That of `TextGen-v0`.

    ## Arguments
    Those of `TextGen-v0`, with other defaults.

    ## Training
    `textgym train --task` generates 80,000 tokens, unless told otherwise.

    ## Reference Scores
    On held-out prompts, tokens sampled:

    | policy | score |
    |---|---:|
    | random tokens | 0.158 |
    | untrained model | 0.222 |
    | optimum | 1.000 |

    Solved at 0.95.

    ## Version History
    v0: first version.
    """

    defaults: ClassVar[TaskArguments] = {
        "prompts": "bundled",
        "reward": {"length_window": {"minimum": 12, "maximum": 16, "unit": "words"}},
        "max_new_tokens": 48,
    }
    training: ClassVar[dict[str, Any]] = {
        "total_tokens": 80_000,
        "algorithm": {"learning_rate": 1e-4, "self_imitation": 0.0, "potential_shaping": False},
    }


class LengthVectorEnv(TextGenVectorEnv):
    """Many episodes of `LengthEnv` at a time."""

    defaults: ClassVar[TaskArguments] = LengthEnv.defaults
