"""The scripts that are written without spaces between words."""

import re

# As the inside of a regular expression's [...]: Han with its iteration marks and compatibility ideographs, Hiragana,
# Katakana (also small and half-width), Bopomofo.
CHINESE_AND_JAPANESE = (
    "\u3005-\u3007\u3021-\u3029\u303b\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d"
    "\U0001b000-\U0001b16f\U00020000-\U0002fa1f\U00030000-\U0003347f"
)
THAI_AND_LAO, BURMESE, KHMER = "\u0e00-\u0eff", "\u1000-\u109f", "\u1780-\u17ff"
CHINESE_OR_JAPANESE_CHARACTER = re.compile(f"[{CHINESE_AND_JAPANESE}]")
