"""A completion ends before the first stop string in its text, whichever was named first."""

from tests.fakes import byte_tokenizer, count_a, tokens
from textgym.task import TextTask


def test_a_completion_is_cut_before_the_stop_string_that_comes_first_in_the_text() -> None:
    task = TextTask(
        byte_tokenizer(), ["one"], count_a, max_prompt_tokens=6, max_new_tokens=5, stop=["b", "a"],
    )  # fmt: skip
    assert task.completion_text(tokens("cab")) == "c"
    assert task.completion_text(tokens("cba")) == "c"
    assert task.completion_text(tokens("ab")) == ""
