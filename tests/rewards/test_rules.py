"""Hand-computed scores of the rules that read nothing but the completion, in English and Chinese."""

import pickle
from typing import Any

import pytest

from textgym.reward_protocol import score_completions
from textgym.rewards import EndsSentence, JsonValid, NumericOrder, Readability, Regex, Repetition, RewardFunction
from textgym.rewards.readability import count_syllables, reading_ease
from textgym.rewards.units import split_words


def scores(reward: RewardFunction, *completions: str) -> list[Any]:
    return list(reward(prompts=["It"] * len(completions), completions=list(completions)))


def test_a_pattern_is_found_anywhere_or_has_to_match_the_whole() -> None:
    assert scores(Regex(r"\d+ (miles|里)"), "ran 12 miles on", "跑了 12 里", "ran miles", "") == [1, 1, 0, 0]
    assert scores(Regex(r"(yes|no)", whole=True), " yes\n", "yes.", "no", "") == [1, 0, 1, 0]
    assert scores(Regex(r"(?i)SEA"), "the sea", "season", "land") == [1, 1, 0]


def test_repetition_is_one_minus_distinct_n_by_hand() -> None:
    # a b a b a: pairs ab ba ab ba, of which 2 of 4 are distinct.
    assert scores(Repetition(2), "a b a b a", "A b a B a", "a b c", "a b", "a", "") == [0.5, 0.5, 0.0, 0.0, 0.0, 0.0]
    assert scores(Repetition(1), "so so so good", "one two") == [0.5, 0.0]
    assert scores(Repetition(1), "好好好人", "天天向上") == [0.5, 0.25]
    assert scores(Repetition(2, unit="characters"), "abab", "天上天上") == [pytest.approx(1 / 3)] * 2
    by_token = Repetition(2, unit="tokens")
    assert by_token(prompts=["It"] * 2, completions=["", ""], completion_ids=[[7, 7, 7], [1, 2, 3]]) == [0.5, 0.0]


def test_a_word_said_over_and_over_is_worse_than_any_text() -> None:
    assert scores(Repetition(3), "good " * 40)[0] > 0.97


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("The end.", True),
        ('He said "so be it!"', True),
        ("(Is that all?) \n", True),
        ("and so on…", True),
        ("and so on...", True),
        ("就是这样。", True),
        ("他说：“好！”", True),
        ("（真的吗？）", True),
        ("これでいい。」", True),
        ("هل انتهى؟", True),
        ("यह अंत है।", True),
        ("The", False),
        ("The end,", False),
        ("就是这样，", False),
        ("就是", False),
        ('"', False),
        ("", False),
        ("  ", False),
    ],
)
def test_a_sentence_ends_with_its_mark_whatever_closes_behind_it(text: str, ends: bool) -> None:
    assert scores(EndsSentence(), text) == [float(ends)]
    assert scores(EndsSentence() - 1, text) == [float(ends) - 1]


def test_many_closing_brackets_are_looked_through() -> None:
    assert scores(EndsSentence(), "end." + " )" * 5000, ")" * 5000) == [1.0, 0.0]


def test_reading_ease_is_fleschs_formula() -> None:
    # 6 words, 1 sentence, 6 syllables; then 10 words in 2 sentences, 12 syllables.
    assert reading_ease("The cat sat on the mat.") == pytest.approx(206.835 - 1.015 * 6 - 84.6)
    assert reading_ease("The cat sat on the mat. It was very happy") == pytest.approx(
        206.835 - 1.015 * 10 / 2 - 84.6 * 12 / 10
    )
    assert reading_ease("很平静。") is None


def test_readability_falls_with_long_words_and_long_sentences() -> None:
    easy = "The sea was calm. We sat on the sand. The sun was warm."
    long_sentence = "The sea was calm and we sat on the sand and the sun was warm " * 4
    hard = "Institutional considerations necessitated comprehensive organisational transformation."
    one, two, three = scores(Readability(), easy, long_sentence, hard)
    assert 1 == one > two > three == 0
    assert scores(Readability(), "", "12 345", "很平静。") == [None, None, None]


def test_syllables_are_groups_of_vowels_without_a_silent_e() -> None:
    words = {"sea": 1, "calm": 1, "lake": 1, "apple": 2, "banana": 3, "rhythm": 1, "free": 1, "hmm": 1, "universe": 3}
    assert {word: count_syllables(word) for word in words} == words


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('{"a": [1, 2.5, null, true, "很好"]}', True),
        (" \n[]\n", True),
        ("12", True),
        ('"text"', True),
        ("", False),
        ("{'a': 1}", False),
        ('{"a": 1', False),
        ('{"a": 1} and more', False),
        ("NaN", False),
        ("[Infinity]", False),
        ("[" * 100_000, False),
        ("9" * 5000, False),
    ],
)
def test_json_is_what_the_standard_says(text: str, valid: bool) -> None:
    assert scores(JsonValid(), text) == [float(valid)]


def test_keys_count_by_their_share() -> None:
    reward = JsonValid(["name", "age", "城市"])
    completions = ('{"name": 1, "age": 2, "城市": 3, "x": 4}', '{"name": 1}', "{}", '["name", "age"]', "name")
    assert scores(reward, *completions) == [1.0, pytest.approx(1 / 3), 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 2 3 4", 1.0),
        ("1 2 3 3 4", 3 / 5),
        ("1 two 3 four", 2 / 4),
        ("3 2 1", 1 / 3),
        ("-2 -1.5 0 1e1", 1.0),
        ("１ ２ ３", 1.0),
        ("1", 1 / 2),
        ("one", 0.0),
        ("", 0.0),
        ("nan inf 1_000 1 2", 2 / 5),
        ("1. 2, (3)", 1 / 3),
    ],
)
def test_numbers_count_while_they_increase(text: str, expected: float) -> None:
    assert scores(NumericOrder(min_words=4), text) == [pytest.approx(expected)]


def test_numeric_order_is_rl4lms_formula() -> None:
    """Computed in another way: the longest increasing beginning of the sorted-by-position numbers."""
    text = "at 5 we saw 7 and 9 then 8 boats 10"
    numbers = [5, 7, 9, 8, 10]
    longest = max(n for n in range(1, 6) if numbers[:n] == sorted(set(numbers[:n])))
    assert scores(NumericOrder(), text) == [longest / max(len(text.split()), 20 / 2)]


REWARDS: list[RewardFunction] = [
    Regex(r"a\b", whole=True, name="ends_with_a"),
    Repetition(2, unit="characters"),
    EndsSentence(),
    Readability(name="ease"),
    JsonValid(["a"]),
    NumericOrder(min_words=4),
]


@pytest.mark.parametrize("reward", REWARDS, ids=repr)
def test_rules_print_pickle_and_compare(reward: RewardFunction) -> None:
    assert eval(repr(reward)) == reward
    assert pickle.loads(pickle.dumps(reward)) == reward
    assert reward != type(reward)(*[] if type(reward) is not Regex else ["b"], name="other")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: Regex("(a"),
            ValueError,
            ("The pattern '(a' is no regular expression: missing ), unterminated subpattern at position 0."),
        ),
        (lambda: Regex(3), TypeError, "pattern must be a text, got 3 of type int."),  # type: ignore[arg-type]
        (lambda: Repetition(0), ValueError, "n must be at least 1, got 0."),
        (lambda: Repetition(1.5), TypeError, "n must be an integer, got 1.5 of type float."),  # type: ignore[arg-type]
        (
            lambda: Repetition(1, unit="lines"),  # type: ignore[arg-type]
            ValueError,
            'unit must be "tokens", "words" or "characters", got \'lines\'.',
        ),
        (
            lambda: JsonValid("name"),
            TypeError,
            "keys must be a list of texts, got the single text 'name'; write ['name'].",
        ),
        (lambda: NumericOrder(-1), ValueError, "min_words must be at least 0, got -1."),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == message


def test_tokens_have_to_come_where_they_are_counted() -> None:
    with pytest.raises(ValueError, match="completion_ids") as caught:
        Repetition(unit="tokens")(prompts=["It"], completions=["was"])
    assert str(caught.value) == (
        'Repetition counts completion_ids, but got none. Pass them, or set unit to "words" or "characters".'
    )


def test_scores_lie_in_the_declared_range() -> None:
    completions = ["", "很好。很好。", "It was good. It was good.", '{"a": 1}', "1 2 3", "\x00\u2028", "a" * 5000]
    for reward in REWARDS:
        result = score_completions(reward, ["It"] * 7, completions, {}, [[1]] * 7)
        assert reward.score_range is not None
        assert all(reward.score_range[0] <= score <= reward.score_range[1] for score in result.scores)


def test_words_are_characters_in_chinese() -> None:
    assert split_words("I 喜欢 Python, very much!") == ["I", "喜", "欢", "Python,", "very", "much!"]
