"""The reward for the right answer, by hand, and what it says to wrong columns."""

import pickle

import pytest

from textgym.rewards import AnswerMatch, build_reward


@pytest.mark.parametrize(
    ("completion", "answer", "exact", "partial"),
    [
        ("42", "42", 1.0, 1.0),
        (" 42\n", "42", 1.0, 1.0),
        ("", "42", 0.0, 0.0),
        ("", "", 1.0, 1.0),
        ("4", "42", 0.0, 0.5),
        ("24", "42", 0.0, 0.0),
        ("4200", "42", 0.0, 0.5),
        ("好人", "好的", 0.0, 0.5),
    ],
)
def test_a_part_is_worth_a_part_only_where_that_is_asked_for(
    completion: str, answer: str, exact: float, partial: float
) -> None:
    rows = {"prompts": ["?"], "completions": [completion], "answer": [answer]}
    assert AnswerMatch()(**rows) == [exact]
    assert AnswerMatch(partial=True)(**rows) == [partial]


def test_a_prompt_without_an_answer_is_left_out_and_the_column_may_have_another_name() -> None:
    reward = AnswerMatch(column="solution")
    assert reward(prompts=["a", "b"], completions=["1", "1"], solution=[None, "1"]) == [None, 1.0]


def test_it_prints_compares_pickles_and_is_built_from_plain_data() -> None:
    reward = AnswerMatch(partial=True)
    assert repr(reward) == "AnswerMatch(partial=True)"
    assert pickle.loads(pickle.dumps(reward)) == reward == build_reward({"answer_match": {"partial": True}})


def test_a_missing_column_and_an_answer_that_is_no_text_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^AnswerMatch needs the column 'answer' beside each prompt, as in"):
        AnswerMatch()(prompts=["1+1="], completions=["2"])
    with pytest.raises(TypeError, match=r"^AnswerMatch needs answers of text, got 2 of type int\.$"):
        AnswerMatch()(prompts=["1+1="], completions=["2"], answer=[2])
