"""One attribute of a text changes, its rating follows, and a model then relies less on what merely went with it."""

import random
import re
from typing import Any

import numpy as np
import pytest

from textgym.rewards.learned import (
    Feedback,
    LinearPreferenceModel,
    Preference,
    Rating,
    RewardModel,
    RidgeRewardModel,
    augment,
    pairs_from_ratings,
    read_counterfactual,
    reliance,
)
from textgym.rewards.learned.counterfactuals import cut, exchange, oppose, put_in, take_out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("He gave his hat to her.", "She gave her hat to him."),
        ("HE saw her Father; her mother saw him.", "SHE saw his Mother; his father saw her."),
        ("Mr. Hero, the heroes", "Mrs. Heroine, the heroes"),
        ("他喜欢这位先生", "她喜欢这位女士"),
        ("They met there.", "They met there."),
    ],
)
def test_whole_words_are_exchanged_both_ways_in_their_case(text: str, expected: str) -> None:
    assert exchange("gender").edit(text) == expected


def test_sentiment_turns_round_only_where_all_of_it_is_of_one_side() -> None:
    counterfactual = oppose()
    assert counterfactual.edit("A great film, best of all.") == "A terrible film, worst of all."
    assert counterfactual.edit("A terrible film") == "A great film"
    assert counterfactual.edit("A great film with a bad end") == "A great film with a bad end"
    assert counterfactual.edit("一部精彩的电影") == "一部无聊的电影"


def test_keywords_come_and_go_and_lengths_are_cut() -> None:
    out = take_out(["Python", "machine learning"], -1)
    assert out.edit("I like Python and Machine  learning.") == "I like and Machine  learning."
    assert out.edit("I like PYTHON, machine learning; Pythons") == "I like,; Pythons"
    assert take_out(["学习"], -1).edit("机器学习很好") == "机器很好"
    into = put_in("Python", 1)
    written = into.edit("one two three")
    assert written.replace(" Python", "") == "one two three"
    assert into.edit("one two three") == written
    assert into.edit(written) == written
    in_chinese = {put_in("学习", 1).edit(f"电影很好{character}") for character in "今天看吧的是一在"}
    assert all(" " not in text and text.replace("学习", "")[:4] == "电影很好" for text in in_chinese)
    assert len({text.index("学习") for text in in_chinese}) > 2
    half = cut(0.5, -0.5)
    assert half.edit("one two three four") == "one two"
    assert half.edit("一二三四") == "一二"
    assert half.edit("a") == "a"


def test_ratings_follow_the_change() -> None:
    rating = Rating("A ", "he is good", (1.0, 4.0), ("anna", "bo"), comment="he is")
    other = Rating("A ", "sea", (5.0,))
    feedback = Feedback((rating, other))

    def added(*specs: Any) -> list[tuple[str, tuple[float, ...]]]:
        rows = augment(feedback, [read_counterfactual(spec) for spec in specs]).ratings
        assert rows[:2] == feedback.ratings
        assert all(one.comment == "" for one in rows[2:])
        return [(one.completion, one.ratings) for one in rows[2:]]

    assert added({"exchange": "gender"}) == [("she is good", (1.0, 4.0))]
    assert added({"oppose": "sentiment"}) == [("he is bad", (5.0, 2.0))]
    assert added({"take_out": ["good"], "change": -2}) == [("he is", (1.0, 2.0))]
    assert added({"exchange": {"sea": "lake"}}, {"take_out": ["he"]}) == [("lake", (5.0,)), (" is good", (1.0, 4.0))]


def test_preferences_follow_the_change() -> None:
    pair = Preference("A ", "he is good", "he is bad", margin=2.0)
    feedback = Feedback(preferences=(pair,))

    def added(spec: Any) -> list[tuple[str, str, float]]:
        rows = augment(feedback, [read_counterfactual(spec)]).preferences
        return [(one.chosen, one.rejected, one.margin) for one in rows[1:]]

    assert added({"exchange": "gender"}) == [("she is good", "she is bad", 2.0)]
    assert added({"exchange": {"good": "bad"}}) == [("he is bad", "he is good", 2.0)]
    assert added({"oppose": {"good": "poor", "bad": "rich"}}) == [("he is rich", "he is poor", 2.0)]
    assert added({"oppose": {"good": "poor"}}) == []
    assert added({"take_out": ["good"], "change": -0.5}) == [("he is good", "he is", 0.5)]
    assert added({"put_in": "Python", "change": 0}) == []


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gender", "A counterfactual must be a mapping, got 'gender'; expected for example"),
        ({"exchnge": "gender"}, "There is no counterfactual 'exchnge'. Did you mean 'exchange'?"),
        ({"exchange": "gendr"}, "There is no list of word pairs 'gendr'. Did you mean 'gender'?"),
        ({"exchange": ["he"]}, "exchange: Words to exchange must be a mapping"),
        ({"exchange": {}}, "Words to exchange must be at least one pair"),
        ({"exchange": {"he": "He"}}, "Words to exchange must be two different ones, got 'he' and 'He'"),
        ({"exchange": {"He": "She", "she": "they"}}, "one counterpart each, but 'she' has 'he' and 'they'"),
        (
            {"exchnge": 1},
            "Expected for example {exchange: gender}, {oppose: sentiment}, {take_out: [Python], change: -1}.",
        ),
        ({"exchange": "gender", "change": 1}, "A counterfactual must change one thing"),
        ({"exchange": "gender", "cut": 0.5}, "A counterfactual must change one thing"),
        ({"change": 1}, "A counterfactual must change one thing"),
        ({"cut": 1.5}, "must be above 0 and below 1, got 1.5"),
        ({"cut": "half"}, "cut: "),
        ({"put_in": "Python", "change": "mirror"}, "change must be a number that is added to the rating, or 'keep'"),
        ({"take_out": "Python"}, "take_out: words must be a list of texts, got the single text 'Python'"),
    ],
)
def test_wrong_counterfactuals_are_refused(spec: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read_counterfactual(spec)


def films(n: int, seed: int, *, is_confounded: bool) -> Feedback:
    """Rate by good minus bad words alone; where it is confounded, nearly all that is praised is a man's."""
    generator = random.Random(seed)
    ratings = []
    for _ in range(n):
        good = generator.random() < 0.5
        is_his = generator.random() < ((0.95 if good else 0.05) if is_confounded else 0.5)
        who = generator.choice(("he", "the actor", "the hero") if is_his else ("she", "the actress", "the heroine"))
        opinion = generator.choice(("good", "lovely", "strong") if good else ("bad", "horrid", "weak"))
        scene = generator.choice(("scene", "song", "story", "film"))
        # Half of the opinions cannot be read, so that who it is about is worth knowing where it is confounded.
        text = f"{who} makes the {scene} {opinion if generator.random() < 0.5 else 'so'} here"
        ratings.append(Rating("", text, ((1.0 if good else -1.0) + generator.gauss(0, 0.3),)))
    return Feedback(tuple(ratings))


@pytest.mark.parametrize("kind", [RidgeRewardModel, LinearPreferenceModel])
def test_confounded_feedback_with_genders_exchanged_lowers_the_reliance_on_them(kind: type[RewardModel]) -> None:
    """Reliance falls to less than a fifth, and the model agrees better with ratings that are not confounded."""
    counterfactual = exchange("gender")
    confounded, judging = films(400, 1, is_confounded=True), films(200, 2, is_confounded=False)
    reliances, agreements = [], []
    for feedback in (confounded, augment(confounded, [counterfactual])):
        is_pairwise = kind is LinearPreferenceModel
        learned = Feedback(preferences=tuple(pairs_from_ratings(feedback.ratings))) if is_pairwise else feedback
        model = kind().fit(learned)
        reliances.append(reliance(model, *judging.texts(), counterfactual) or 0.0)
        agreements.append(np.corrcoef(model.score(*judging.texts()), [one.rating for one in judging.ratings])[0, 1])
    assert reliances[0] > 0.5
    assert reliances[1] < reliances[0] / 5
    assert agreements[1] > agreements[0] + 0.02


def test_reliance_on_what_no_text_has_is_unknown() -> None:
    model = RidgeRewardModel().fit(films(40, 1, is_confounded=True))
    assert reliance(model, ["", ""], ["sea", "lake"], exchange("gender")) is None
