"""All strings over a small alphabet, in an order that is always the same, and a fifth of them held out."""

from itertools import product

import numpy as np

ALPHABET = "abcd"
ASK = ">"  # stands behind what is to be written
LENGTH = 3
HELD_OUT_SHARE = 0.2


def split_strings() -> tuple[list[str], list[str]]:
    """Return strings to train on and held-out ones, 51 and 13, none in both."""
    strings = ["".join(characters) for characters in product(ALPHABET, repeat=LENGTH)]
    shuffled = [strings[index] for index in np.random.default_rng(0).permutation(len(strings))]
    n_held_out = round(HELD_OUT_SHARE * len(shuffled))
    return shuffled[n_held_out:], shuffled[:n_held_out]
