"""A reward that is made of the wrong thing says which argument it is, what was expected and what came."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from textgym.rewards import (
    AnswerMatch,
    BannedWords,
    Cached,
    Clip,
    EndsSentence,
    Gate,
    HttpReward,
    JsonValid,
    Keywords,
    LengthWindow,
    NumericOrder,
    Perplexity,
    Regex,
    Repetition,
    SequenceClassifier,
    Similarity,
    WeightedSum,
    Whiten,
    as_reward,
    build_reward,
    check_reward,
    register_reward,
    reward_to_data,
)

ends: Any = EndsSentence()
NAN = float("nan")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Keywords("sea"), "words must be a list of texts, got the single text 'sea'; write ['sea']."),
        (lambda: BannedWords(None), "words must be a list of texts, got None."),  # type: ignore[arg-type]
        (lambda: Keywords({"sea"}), "words must be a list of texts, got {'sea'} of type set."),  # type: ignore[arg-type]
        (
            lambda: Keywords(["sea", False]),  # type: ignore[list-item]
            "words must be a list of texts, got False of type bool in place 2; put it in quotes.",
        ),
        (lambda: Keywords(["sea"], name=3), "name must be a text, got 3 of type int."),  # type: ignore[arg-type]
        (lambda: as_reward(ends, name=3), "name must be a text, got 3 of type int."),  # type: ignore[arg-type]
        (lambda: Regex(None), "pattern must be a text, got None."),  # type: ignore[arg-type]
        (lambda: Regex("a", whole="no"), "whole must be True or False, got 'no' of type str."),  # type: ignore[arg-type]
        (lambda: LengthWindow("3", 5), "minimum must be an integer, got '3' of type str."),  # type: ignore[arg-type]
        (lambda: LengthWindow(3, None), "maximum must be an integer, got None."),  # type: ignore[arg-type]
        (lambda: LengthWindow(3, 5, margin="2"), "margin must be a number, got '2' of type str."),  # type: ignore[arg-type]
        (lambda: Repetition(True), "n must be an integer, got True of type bool."),
        (lambda: JsonValid(None), "keys must be a list of texts, got None."),  # type: ignore[arg-type]
        (lambda: NumericOrder("20"), "min_words must be an integer, got '20' of type str."),  # type: ignore[arg-type]
        (lambda: AnswerMatch(partial="no"), "partial must be True or False, got 'no' of type str."),  # type: ignore[arg-type]
        (lambda: AnswerMatch(column=None), "column must be a text, got None."),  # type: ignore[arg-type]
        (lambda: Perplexity(maximum="9"), "maximum must be a number, got '9' of type str."),  # type: ignore[arg-type]
        (lambda: Perplexity(batch_size=2.5), "batch_size must be an integer, got 2.5 of type float."),  # type: ignore[arg-type]
        (
            lambda: SequenceClassifier(None),  # type: ignore[arg-type]
            "model must be a folder or a name on the Hugging Face hub, got None.",
        ),
        (lambda: Clip(ends, "0", 1), "low must be a number, got '0' of type str."),  # type: ignore[arg-type]
        (lambda: Clip(ends, 0, None), "high must be a number, got None."),  # type: ignore[arg-type]
        (lambda: Gate(ends, ends, above="0"), "above must be a number, got '0' of type str."),  # type: ignore[arg-type]
        (lambda: Whiten(ends, center="no"), "center must be True or False, got 'no' of type str."),  # type: ignore[arg-type]
        (lambda: Cached(ends, size=2.5), "size must be an integer, got 2.5 of type float."),  # type: ignore[arg-type]
        (lambda: WeightedSum([("2", ends)]), "Weights and constants of rewards must be numbers, got '2' of type str."),  # type: ignore[list-item]
        (lambda: WeightedSum([(1, ends)], None), "Weights and constants of rewards must be numbers, got None."),  # type: ignore[arg-type]
        (
            lambda: WeightedSum([ends]),
            "terms must be a list of (weight, reward), got EndsSentence() of type EndsSentence",
        ),
        (
            lambda: WeightedSum(ends),
            "terms must be a list of (weight, reward), got EndsSentence() of type EndsSentence.",
        ),
        (lambda: ends / "2", "A reward can be divided by a number, got '2' of type str."),
        (lambda: register_reward("wrong")(3), "The reward 'wrong' must be a function, a class or an object that is"),  # type: ignore[type-var]
        (lambda: register_reward(3), "A reward's name must be a text, got 3 of type int."),  # type: ignore[arg-type]
        (lambda: check_reward(ends, columns="a"), "columns must be a mapping, such as {'reference':"),  # type: ignore[arg-type]
        (lambda: check_reward(ends, prompt=3), "prompt must be a text, got 3 of type int."),  # type: ignore[arg-type]
        (
            lambda: build_reward(b"ends_sentence"),
            "A reward must be given as an object, a name, a mapping or a list, got b",
        ),
    ],
)
def test_arguments_of_the_wrong_type_are_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        make()
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Clip(ends, NAN, 1), "low must be a number, got nan."),
        (lambda: Gate(ends, ends, above=NAN), "above must be a finite number, got nan."),
        (lambda: HttpReward("http://localhost", timeout=float("inf")), "timeout must be a finite number, got inf."),
        (lambda: Perplexity(maximum=1), "maximum must be above 1, got 1."),
        (lambda: Cached(ends, size=0), "size must be at least 1, got 0."),
        (lambda: 10**400 * ends, "Weights and constants of rewards must be finite, got 1000"),
        (lambda: build_reward(" "), "A reward must have a name, got an empty text."),
    ],
)
def test_arguments_out_of_range_are_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        make()
    assert str(caught.value).startswith(message)


def test_a_bound_may_be_open_and_numbers_may_be_numpys() -> None:
    assert Clip(ends, -math.inf, 0.5)([""] * 2, ["It", "It ends."]) == [0.0, 0.5]
    two: Any = np.int64(2)
    half: Any = np.float32(0.5)
    reward = Clip(Repetition(two), half, 1)
    assert reward_to_data(reward) == {"clip": {"reward": {"repetition": {"n": 2}}, "low": 0.5, "high": 1}}


def test_a_reward_is_not_divided_by_zero() -> None:
    with pytest.raises(ZeroDivisionError, match="A reward can be divided by any number but 0"):
        ends / 0


def test_similarity_needs_the_name_of_its_column() -> None:
    pytest.importorskip("rapidfuzz", reason="needs the extra similarity")
    with pytest.raises(TypeError, match="column must be a text, got 3 of type int"):
        Similarity(column=3)  # type: ignore[arg-type]


def test_in_a_composition_the_error_begins_with_the_rewards_name() -> None:
    with pytest.raises(TypeError) as caught:
        build_reward([{"clip": {"reward": {"keywords": {"words": "sea"}}, "low": 0, "high": 1}}, "ends_sentence"])
    assert str(caught.value) == (
        "Reward 'clip': Reward 'keywords': words must be a list of texts, got the single text 'sea'; write ['sea']."
    )
    with pytest.raises(ValueError, match=r"got the keys 'ends_sentence', 'wieght'. Did you mean 'weight'\?"):
        build_reward({"ends_sentence": {}, "wieght": 2})
    with pytest.raises(ValueError, match=r"Give them as in {length_window: {minimum: \.\.\., maximum: \.\.\.}}"):
        build_reward("length_window")
