"""The reward of the reference task: write of Python and machine learning, without sensitive words, at a fair length."""

from .keywords import BannedWords, Keywords
from .length import LengthWindow
from .registry import register_reward

REFERENCE_KEYWORDS = ("Python", "machine learning")
# The untrained bundled model uses one of these in 12 % of its completions.
REFERENCE_BANNED_WORDS = (
    "war",
    "wars",
    "death",
    "kill",
    "kills",
    "killed",
    "killer",
    "killing",
    "dead",
    "die",
    "dies",
    "died",
    "murder",
    "murdered",
    "blood",
    "violence",
    "violent",
    "crime",
    "criminal",
    "drug",
    "drugs",
    "gun",
    "guns",
    "enemy",
    "attack",
    "weapons",
    "hate",
    "evil",
    "hell",
)
REFERENCE_LENGTH = (16, 40)  # tokens
REFERENCE_MARGIN = 1

# Between 0 and 1; `BannedWords` is reported as 1 where a banned word occurs.
reference_task = register_reward(
    "reference_task", "The demo's: write of Python and machine learning, without sensitive words, at a fair length."
)(
    0.5 * Keywords(REFERENCE_KEYWORDS)
    + 0.25 * (1 - BannedWords(REFERENCE_BANNED_WORDS))
    + 0.25 * LengthWindow(*REFERENCE_LENGTH, unit="tokens", margin=REFERENCE_MARGIN)
)
