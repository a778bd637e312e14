"""Load a backbone, an encoder or a language model without its head, and its tokenizer."""

from pathlib import Path
from typing import cast

from torch import Tensor
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerBase

from textgym.models import load_saved_tokenizer, model_source, refuse_pickled_weights
from textgym.whole_models import load_whole


def load_backbone(name: str | Path, *, allow_pickle: bool = False) -> PreTrainedModel:
    """Load a model without its head, in float32, on the CPU.

    Args:
        name: A folder, a name on the Hugging Face hub, or "bundled" for the bundled GPT-2.
        allow_pickle: Also load weights that only come as a pickle, which can run any code.

    Raises:
        ValueError: If nothing can be loaded under that name, a part of the model is missing, or it is none of text.
    """
    source = model_source(name)
    if not allow_pickle:
        refuse_pickled_weights(source)
    options = {"use_safetensors": None if allow_pickle else True}
    # An encoder's pooler is not used, and one that was saved with another head comes without.
    backbone = load_whole(AutoModel, source, "backbone", unused=("pooler",), **options)
    if backbone.config.is_encoder_decoder or getattr(backbone.config, "hidden_size", None) is None:
        raise ValueError(
            f"The backbone must be an encoder or a decoder of text, such as a BERT or a GPT-2; {source} is a "
            f"{type(backbone).__name__}."
        )
    return backbone


def load_backbone_tokenizer(name: str | Path) -> PreTrainedTokenizerBase:
    """Load a backbone's tokenizer.

    Raises:
        ValueError: If nothing can be loaded under that name, it has no vocabulary, or it has neither a separator nor an
            end of sequence.
    """
    source = model_source(name)
    tokenizer = load_saved_tokenizer(source)
    if tokenizer.sep_token_id is None and tokenizer.eos_token_id is None:
        raise ValueError(f"The tokenizer of {source} has neither sep_token nor eos_token; set one of them.")
    return tokenizer


def check_belong_together(tokenizer: PreTrainedTokenizerBase, backbone: PreTrainedModel) -> None:
    """Refuse a tokenizer whose tokens the backbone does not know, before one of them occurs.

    Special tokens that no text brings, such as Gemma's for a picture, need not be known.

    Raises:
        ValueError: If it has other tokens than those of the backbone.
    """
    known = cast(Tensor, backbone.get_input_embeddings().weight).shape[0]
    special = {token_id for token_id, token in tokenizer.added_tokens_decoder.items() if token.special}
    around = {tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id} - {None}
    if max({*tokenizer.get_vocab().values()} - special | around, default=0) >= known:
        raise ValueError(
            f"The tokenizer has {len(tokenizer):,} tokens, of which the backbone knows {known:,}; save two that belong "
            "together into its folder."
        )
