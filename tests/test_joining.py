"""Prompt and completion become one text in which no two words run together, and that text has one key."""

import pytest

from textgym.joining import join_text, spaced, text_key


@pytest.mark.parametrize(
    ("prompt", "completion", "text"),
    [
        ("The film", "was a joy", "The film was a joy"),
        ("The film", " was a joy", "The film was a joy"),
        ("The film ", "was a joy", "The film was a joy"),
        ("The film\n", "was a joy", "The film\nwas a joy"),
        ("The film", "", "The film"),
        ("", "was a joy", "was a joy"),
        ("The film", ", a joy", "The film, a joy"),
        ("The film", "'s end", "The film's end"),
        ("Was it good?", "Yes", "Was it good? Yes"),
        ("The film (", "a joy)", "The film (a joy)"),
        ("The film", "(a joy)", "The film (a joy)"),
        ("Le café", "était bon", "Le café était bon"),
        ("В 1999", "году", "В 1999 году"),
        ("영화는", "좋다", "영화는 좋다"),
        ("这部电影", "很好", "这部电影很好"),
        ("这部电影：", "good", "这部电影：good"),
        ("用Python", "写代码", "用Python写代码"),
        ("この映画は", "最高", "この映画は最高"),
        ("หนัง", "ดี", "หนังดี"),
    ],
)
def test_a_space_is_put_only_where_two_words_would_run_together(prompt: str, completion: str, text: str) -> None:
    assert join_text(prompt, completion) == text
    assert prompt + spaced(prompt, completion) == text


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [("The film", "was  dull"), ("The film", " was dull"), ("", "the film was dull"), ("THE FILM WAS", "dull\n")],
)
def test_a_text_has_one_key_wherever_its_prompt_ends(prompt: str, completion: str) -> None:
    assert text_key(prompt, completion) == "the film was dull"
