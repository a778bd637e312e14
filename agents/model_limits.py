"""What a language model has room for, by its configuration: its tokens, and the longest context that it is made for."""

import numpy as np
from transformers import PretrainedConfig


def check_vocabulary(config: PretrainedConfig, vocab_size: int) -> None:
    """Raise ValueError if an environment's tokenizer has more tokens than a model."""
    if config.vocab_size < vocab_size:
        raise ValueError(
            f"The environment's tokenizer has {vocab_size} tokens, the model only {config.vocab_size}; give the "
            "environment the model's own tokenizer."
        )


def check_context(config: PretrainedConfig, length: int) -> None:
    """Raise ValueError if a model is not made for contexts of so many tokens."""
    longest = getattr(config, "max_position_embeddings", None)
    if longest is not None and length > longest:
        raise ValueError(
            f"max_prompt_tokens + max_new_tokens is {length}, beyond the model's context of {longest} tokens; lower "
            "one of them."
        )


def check_tokens(config: PretrainedConfig, token_ids: np.ndarray) -> None:
    """Raise ValueError if a token is none of a model's."""
    is_wrong = (token_ids < 0) | (token_ids >= config.vocab_size)
    if is_wrong.any():
        raise ValueError(
            f"A prompt holds the token {token_ids[is_wrong][0]}, the model has {config.vocab_size} tokens; give the "
            "environment the model's own tokenizer."
        )
