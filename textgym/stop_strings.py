"""Find the tokens that can complete a stop string, so that only after those a text has to be decoded."""

import torch
from torch import Tensor

from .task import TextTask

REPLACEMENT_CHARACTER = "\N{REPLACEMENT CHARACTER}"


def tokens_that_may_stop(task: TextTask) -> Tensor:
    """Tell which tokens can bring the last character of one of the task's stop strings.

    Decoding every row after every token would cost Python work for each row at each step. A stop string is complete
    only once its last character is there, so a token whose own text lacks all of these need not be looked at. A token
    that is part of a character decodes to a replacement character, and may be any.

    Args:
        task: The task with its tokenizer and stop strings.

    Returns:
        Boolean tensor, False only where a token can never complete a stop string, shape (V,).
    """
    # Some decoders drop a leading space, so each token is decoded behind another one.
    anchor = list(task.prompts[0].token_ids)
    anchor_text = _decode(task, anchor)
    last = {stop[-1] for stop in task.stop} | {REPLACEMENT_CHARACTER}
    may_stop = torch.ones(task.vocab_size, dtype=torch.bool)
    for token_id in range(task.vocab_size):
        text = _decode(task, [*anchor, token_id])
        if text.startswith(anchor_text):
            may_stop[token_id] = not last.isdisjoint(text[len(anchor_text) :])
    return may_stop  # (V,)


def _decode(task: TextTask, token_ids: list[int]) -> str:
    return str(task.tokenizer.decode(token_ids, clean_up_tokenization_spaces=False))
