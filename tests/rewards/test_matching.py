"""Which words are found in which texts."""

import pytest

from textgym.rewards.matching import PhraseMatcher


@pytest.mark.parametrize(
    ("phrase", "text", "expected"),
    [
        ("Python", "I write python.", True),
        ("python", "PYTHON's way", True),
        ("Python", "a Python-like language", True),
        ("Python", "(Python)", True),
        ("Python", "Pythonic", False),
        ("Python", "CPython", False),
        ("Python", "Python3", False),
        ("Python", "my_Python", False),
        ("Python", "Pythonic, but Python", True),
        ("Python", "", False),
        ("machine learning", "Machine\n  Learning", True),
        ("machine learning", "machine-learning", False),
        ("machine learning", "machine learnings", False),
        ("machine  learning", " machine\tlearning ", True),
        ("C++", "I like C++11", True),
        ("C++", "I like ABC++", False),
        ("don't", "I don’t", True),
        ("straße", "STRASSE", True),
        ("école", "l'E\u0301COLE", True),
        ("ecole", "école", False),
        ("война", "Война и мир", True),
        ("война", "войнами", False),
        ("कम", "कमी", False),
        ("कम", "कम है", True),
        ("전쟁", "전쟁 영화", True),
        ("전쟁", "전쟁은", False),
        ("机器学习", "我在学机器学习呢", True),
        ("机器学习", "机器 学习", False),
        ("学习", "机器学习", True),
        ("機械学習", "機械学習を学ぶ", True),
        ("カタカナ", "ｶﾀｶﾅで", True),
        ("Python", "用Python写的程序", True),
        ("Python", "用Ｐｙｔｈｏｎ写", True),
        ("Python", "Pythonを使う", True),
        ("Python编程", "学Python编程吧", True),
        ("Python编程", "学CPython编程吧", False),
    ],
)
def test_a_phrase_is_found_as_a_whole_word_or_as_a_substring_in_chinese_and_japanese(
    phrase: str, text: str, expected: bool
) -> None:
    matcher = PhraseMatcher([phrase])
    assert matcher.occurs_any(text) is expected
    assert matcher.count(text) == int(expected)


def test_each_phrase_counts_once_and_overlapping_ones_all_count() -> None:
    matcher = PhraseMatcher(["machine", "machine learning", "learning", "deep"])
    assert matcher.count("machine learning and more machine learning") == 3


@pytest.mark.parametrize(
    ("phrases", "error", "message"),
    [
        ("Python", TypeError, "words must be a list of texts, got the single text 'Python'; write ['Python']."),
        ([], ValueError, "Words must be at least one, got an empty list."),
        (["a", 3], TypeError, "words must be a list of texts, got 3 of type int in place 2; put it in quotes."),
        (["a", " "], ValueError, "Each word must have something besides white space, got ' '."),
    ],
)
def test_bad_phrases_are_refused(phrases: list[str], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        PhraseMatcher(phrases)
    assert str(caught.value) == message
