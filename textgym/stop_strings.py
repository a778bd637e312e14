"""Find the tokens that can complete a stop string, so that only after those a text has to be decoded."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .decoding import TextDecoder

REPLACEMENT_CHARACTER = "\N{REPLACEMENT CHARACTER}"


def tokens_that_may_stop(decoder: TextDecoder, vocab_size: int, anchor: Sequence[int], stop: Sequence[str]) -> Tensor:
    """Tell which tokens can bring the last character of one of some stop strings.

    Decoding every row after every token would cost Python work for each row at each step. A stop string is complete
    only once its last character is there, so a token whose own text lacks all of these need not be looked at. A token
    that is part of a character decodes to a replacement character or, by some tokenizers of bytes, to nothing; it may
    be any.

    Args:
        decoder: Turns tokens into text.
        vocab_size: Number of tokens V.
        anchor: Tokens of any text, such as a prompt. Some decoders drop a leading space, so each token is decoded
            behind these.
        stop: The stop strings.

    Returns:
        Boolean tensor, False only where a token can never complete a stop string, shape (V,).
    """
    before = decoder(anchor)
    last = {string[-1] for string in stop} | {REPLACEMENT_CHARACTER}
    may_stop = torch.ones(vocab_size, dtype=torch.bool)
    for token_id, text in enumerate(decoder.decode_all([[*anchor, token_id] for token_id in range(vocab_size)])):
        if text.startswith(before):
            gain = text[len(before) :]
            may_stop[token_id] = not gain or not last.isdisjoint(gain)
    return may_stop  # (V,)
