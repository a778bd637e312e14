"""Small stand-ins with real behaviour: a tokenizer of bytes, and rewards whose values a person can work out."""

from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from textgym.core import TextCore

BYTES = 256
EOS_TOKEN_ID = 256
VOCAB_SIZE = 257


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Make a tokenizer whose tokens are bytes, in the order of GPT-2's byte alphabet, and one end of sequence."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: index for index, character in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>", clean_up_tokenization_spaces=False
    )


def tokens(text: str) -> list[int]:
    """Return a text's tokens in `byte_tokenizer`."""
    ids: list[int] = byte_tokenizer()(text)["input_ids"]
    return ids


def count_a(prompts: list[str], completions: list[str], **columns: object) -> list[float]:
    """Pay 1 for each letter a."""
    return [float(completion.count("a")) for completion in completions]


def score_each_token(
    prompts: list[str], completions: list[str], completion_ids: list[list[int]], **columns: object
) -> list[list[float]]:
    """Pay 0.5 for the first token, 1 for the second, and so on."""
    return [[0.5 * (position + 1) for position in range(len(ids))] for ids in completion_ids]


def fail(prompts: list[str], completions: list[str], **columns: object) -> list[float]:
    """Fail always."""
    raise RuntimeError("no judgement today")


class RightAnswer:
    """Pay 1 where the completion is the column `answer`; does not apply where that is None."""

    def __call__(
        self, prompts: list[str], completions: list[str], answer: Sequence[str | None], **columns: object
    ) -> list[float | None]:
        return [
            None if expected is None else float(completion == expected)
            for completion, expected in zip(completions, answer, strict=True)
        ]


class PayEachStep:
    """Pay 0.25 at each step for every character so far, and 1 at the end."""

    def __call__(self, prompts: list[str], completions: list[str], **columns: object) -> list[float]:
        return [1.0 for _ in completions]

    def prefix_rewards(self, prompts: list[str], prefixes: list[str], **columns: object) -> list[float]:
        return [0.25 * len(prefix) for prefix in prefixes]


def core_state(core: TextCore) -> dict[str, Any]:
    """Return everything that a failed step or reset could have changed, in a form that compares by `==`."""
    return {
        "observation": {key: value.tolist() for key, value in core.observation().items()},
        "counters": [core.contexts.n_generated.tolist(), core.contexts.n_used.tolist()],
        "is_over": core.is_over.tolist(),
        "endings": {row: core.ending(row) for row in range(core.num_envs)},
        "schedule": {
            key: repr([each and each.bit_generator.state for each in value]) if key == "generators" else repr(value)
            for key, value in vars(core.schedule).items()
            if key != "_task"
        },
    }
