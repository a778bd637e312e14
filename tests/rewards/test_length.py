"""Hand-computed scores of the length window."""

import pickle
from typing import Any

import pytest

from textgym.rewards import LengthWindow
from textgym.rewards.units import count_words, split_words


@pytest.mark.parametrize(
    ("length", "expected"),
    [(0, 0.0), (1, 0.05), (10, 0.5), (19, 0.95), (20, 1.0), (40, 1.0), (41, 0.975), (60, 0.5), (80, 0.0), (99, 0.0)],
)
def test_the_score_is_1_inside_and_falls_to_0_at_no_tokens_and_at_twice_the_maximum(
    length: int, expected: float
) -> None:
    scores = LengthWindow(20, 40)(prompts=["The"], completions=["text"], completion_ids=[[7] * length])
    assert scores == [pytest.approx(expected, abs=1e-15)]


@pytest.mark.parametrize(
    ("length", "expected"), [(4, 0.2), (7, 0.8), (8, 1.0), (10, 1.0), (11, 0.8), (14, 0.2), (15, 0.0), (20, 0.0)]
)
def test_a_margin_sets_the_distance_on_either_side(length: int, expected: float) -> None:
    scores = LengthWindow(8, 10, unit="characters", margin=5)(prompts=["The"], completions=["x" * length])
    assert scores == [pytest.approx(expected, abs=1e-15)]


@pytest.mark.parametrize(("length", "expected"), [(0, 1.0), (7, 1.0), (10, 1.0), (12, 0.6), (20, 0.0)])
def test_an_unfinished_text_promises_what_it_may_still_get(length: int, expected: float) -> None:
    promised = LengthWindow(8, 10, margin=5).potentials(prompts=["The"], prefixes=["x"], completion_ids=[[7] * length])
    assert promised == [pytest.approx(expected, abs=1e-15)]


def test_a_minimum_of_0_has_no_lower_edge() -> None:
    assert LengthWindow(0, 3, unit="characters")(prompts=["a"] * 2, completions=["", "ab"]) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("  \n ", 0),
        ("Hello, world!", 2),
        ("I don't know - well-known (yes) ...", 5),
        ("in 2004, 3.5 %", 3),
        ("我喜欢电影", 5),
        ("你好，世界！", 4),
        ("我用Python写程序", 6),
        ("映画が好き。", 5),
        ("영화를 좋아해요", 2),
        ("война и мир", 3),
    ],
)
def test_words_are_runs_without_spaces_and_single_chinese_and_japanese_characters(text: str, expected: int) -> None:
    assert count_words(text) == expected


def test_each_unit_counts_its_own() -> None:
    arguments: dict[str, Any] = {"prompts": ["a"], "completions": [" 机器 learning "], "completion_ids": [[5, 6]]}
    assert LengthWindow(4, 4, margin=4)(**arguments) == [0.5]
    assert LengthWindow(6, 6, unit="words")(**arguments) == [0.5]
    assert LengthWindow(22, 22, unit="characters")(**arguments) == [0.5]


@pytest.mark.parametrize(
    ("reward", "text"),
    [
        (LengthWindow(20, 60), "LengthWindow(20, 60)"),
        (LengthWindow(0, 9, "words", 2.5, name="size"), "LengthWindow(0, 9, unit='words', margin=2.5, name='size')"),
    ],
)
def test_the_window_prints_so_that_it_can_be_typed_again_and_pickles(reward: LengthWindow, text: str) -> None:
    assert repr(reward) == text
    assert eval(text) == reward
    assert pickle.loads(pickle.dumps(reward)) == reward


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((2.5, 4), TypeError, "minimum must be an integer, got 2.5 of type float."),
        ((2, True), TypeError, "maximum must be an integer, got True of type bool."),
        (
            (5, 4),
            ValueError,
            "A length window needs 0 <= minimum <= maximum and maximum >= 1, got minimum 5 and maximum 4.",
        ),
        ((1, 4, "token"), ValueError, 'unit must be "tokens", "words" or "characters", got \'token\'.'),
        ((1, 4, "words", 0), ValueError, "margin must be above 0, got 0."),
    ],
)
def test_bad_windows_are_refused(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        LengthWindow(*arguments)
    assert str(caught.value) == message


def test_counting_tokens_needs_token_ids() -> None:
    with pytest.raises(ValueError, match="completion_ids") as caught:
        LengthWindow(1, 2)(prompts=["a"], completions=["b"])
    assert str(caught.value) == (
        'LengthWindow counts completion_ids, but got none. Pass them, or set unit to "words" or "characters".'
    )


def test_plain_english_is_split_as_text_with_other_scripts_is() -> None:
    printable = "".join(map(chr, range(128)))
    for text in (printable, printable[::-1], "it's - (so) 3.5% a_b _c --d e\tf\x1cg\n", "", " "):
        assert split_words(text) == split_words(f"{text} 海")[:-1]
