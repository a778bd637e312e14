"""Hand-computed scores of the rewards for words."""

import pickle

import pytest

from textgym.rewards import BannedWords, Keywords, RewardFunction


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("nothing of the kind", 0.0),
        ("python", 0.25),
        ("python Python PYTHON", 0.25),
        ("Python for machine learning", 0.5),
        ("Python 的 machine learning 就是机器学习", 0.75),
        ("Python, machine learning, 机器学习, 深度学习", 1.0),
    ],
)
def test_keywords_give_the_share_of_words_that_occur(completion: str, expected: float) -> None:
    reward = Keywords(["Python", "machine learning", "机器学习", "深度学习"])
    assert reward(prompts=["Python and 机器学习:"], completions=[completion]) == [expected]


@pytest.mark.parametrize(
    ("completion", "expected"),
    [("peace", 0.0), ("War!", 1.0), ("war, blood and war", 1.0), ("warm", 0.0), ("这是一场战争", 1.0), ("", 0.0)],
)
def test_banned_words_give_one_where_any_occurs(completion: str, expected: float) -> None:
    assert BannedWords(["war", "blood", "战争"])(prompts=["war"], completions=[completion]) == [expected]


@pytest.mark.parametrize(
    ("reward", "text"),
    [
        (Keywords(["Python", "机器学习"]), "Keywords(['Python', '机器学习'])"),
        (Keywords(("it's",), name="style"), "Keywords([\"it's\"], name='style')"),
        (BannedWords(["war"]), "BannedWords(['war'])"),
    ],
)
def test_word_rewards_print_so_that_they_can_be_typed_again_and_pickle(reward: RewardFunction, text: str) -> None:
    assert repr(reward) == text
    for copy in (eval(text), pickle.loads(pickle.dumps(reward))):
        assert copy == reward
        assert hash(copy) == hash(reward)
        texts = ["Python, it's war", "机器学习"]
        assert copy(prompts=["", ""], completions=texts) == reward(prompts=["", ""], completions=texts)


def test_word_rewards_differ_by_class_words_and_name() -> None:
    assert Keywords(["war"]) != BannedWords(["war"])
    assert Keywords(["war"]) != Keywords(["War"])
    assert Keywords(["war"]) != Keywords(["war"], name="war")
    assert Keywords(["war"]) != "Keywords(['war'])"


def test_keywords_that_match_the_same_are_refused() -> None:
    with pytest.raises(ValueError, match="Keywords must differ") as caught:
        Keywords(["Python", "war", " PYTHON"])
    assert str(caught.value) == "Keywords must differ in more than case and spaces, got 'python' more than once."
