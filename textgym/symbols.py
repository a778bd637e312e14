"""Tiny vocabularies for debugging: a tokenizer of single characters, and a small GPT-2 of random weights."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

PREFIX = "symbols:"
END = "<end>"


def names_symbols(name: object) -> bool:
    """Tell whether a name is one of a tiny vocabulary, such as `"symbols:abc>"`."""
    return isinstance(name, str) and name.startswith(PREFIX)


def symbol_tokenizer(name: str) -> "PreTrainedTokenizerFast":
    """Make a tokenizer whose tokens are the characters behind the prefix, in order, and then one end of sequence.

    Args:
        name: Such as `"symbols:abc>"`, which has five tokens.

    Raises:
        ValueError: If there is no character, or one comes twice.

    >>> symbol_tokenizer("symbols:abc>")("cab>")["input_ids"]
    [2, 0, 1, 3]
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    symbols = _symbols(name)
    vocabulary = {symbol: index for index, symbol in enumerate([*symbols, END])}
    # Without an unknown token, so that a character that is not there is an error rather than another one.
    tokenizer = Tokenizer(models.WordLevel(vocab=vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"(?m:.)"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=END, clean_up_tokenization_spaces=False
    )


def symbol_model(name: str) -> "PreTrainedModel":
    """Make a GPT-2 over a tiny vocabulary: 2 blocks, width 64, 64 positions, and always the same random weights.

    It is in evaluation mode.

    Args:
        name: As of the tokenizer.

    Raises:
        ValueError: As for the tokenizer.
    """
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    n_symbols = len(_symbols(name))
    config = GPT2Config(
        vocab_size=n_symbols + 1,
        n_positions=64,
        n_embd=64,
        n_layer=2,
        n_head=4,
        bos_token_id=n_symbols,
        eos_token_id=n_symbols,
        pad_token_id=n_symbols,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPT2LMHeadModel(config)
    model.eval()
    return model


def _symbols(name: str) -> str:
    symbols = name.removeprefix(PREFIX)
    if not symbols:
        raise ValueError(f"A tiny vocabulary needs at least one character, as in 'symbols:abc>', got {name!r}.")
    twice = [symbol for index, symbol in enumerate(symbols) if symbol in symbols[:index]]
    if twice:
        raise ValueError(f"The characters of a tiny vocabulary must differ, got {twice[0]!r} twice in {name!r}.")
    return symbols
