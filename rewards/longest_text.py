"""How long a text a model of transformers can read."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase


def longest_text(tokenizer: "PreTrainedTokenizerBase", backbone: "nn.Module", max_tokens: int) -> int:
    """Return how many tokens a text may have: as many as are asked for, if backbone and tokenizer read so many."""
    positions = getattr(backbone.config, "max_position_embeddings", None) or 0
    is_absolute = positions > 0 and getattr(backbone.config, "position_biased_input", True)  # DeBERTa's are relative
    if not is_absolute:
        return int(min(max_tokens, tokenizer.model_max_length))
    # RoBERTa counts positions from behind that of padding.
    table = getattr(getattr(backbone, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    positions -= 0 if padding is None else padding + 1
    return int(min(max_tokens, positions, tokenizer.model_max_length))
