"""`textgym play`: a person's line is a completion, judged as a model's is."""

from pathlib import Path

import pytest

from tests.cli.conftest import run_command
from tests.fakes import EOS_TOKEN_ID, byte_tokenizer, count_a, tokens
from textgym.cli.play import to_action
from textgym.task import TextTask


def test_each_line_is_judged_until_an_empty_one(workplace: Path) -> None:
    arguments = ("play", "--config", "settings.yaml", "--prompt-order", "sequential")
    result = run_command(*arguments, typed="is wide\n, too\n\n")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("The reward is my_rewards:few_letters.\n")
    assert "You have 16 tokens. An empty line ends the game." in result.stdout
    # " is wide" has 8 of 16 letters, ", too" has 5, and each ends by the end-of-sequence token.
    assert "The sea is wide\nscore 0.500, 9 tokens, ended by eos\n  reward/few_letters  0.500" in result.stdout
    assert "A lake, too\nscore 0.688, 6 tokens, ended by eos" in result.stdout
    assert result.stdout.endswith("mean score 0.594 of 2 completions\n")


def test_the_end_of_the_input_ends_the_game(workplace: Path) -> None:
    result = run_command("play", "--config", "settings.yaml", typed="")
    assert result.exit_code == 0
    assert "mean score" not in result.stdout


def test_ctrl_c_ends_the_game_with_its_mean(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = iter(["is wide"])

    def type_a_line_then_ctrl_c(_: str) -> str:
        for line in lines:
            return line
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", type_a_line_then_ctrl_c)
    result = run_command("play", "--config", "settings.yaml", "--prompt-order", "sequential")
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("mean score 0.500 of 1 completions\n")


def test_a_long_line_is_cut_to_the_budget() -> None:
    task = TextTask(byte_tokenizer(), ["Go"], count_a, max_new_tokens=4)
    assert to_action(task, "Go", "!abcdef").tolist() == tokens("!abc")


def test_words_are_kept_apart_and_chinese_is_not() -> None:
    task = TextTask(byte_tokenizer(), ["Go"], count_a, max_new_tokens=7)
    assert to_action(task, "Go", "on").tolist() == [*tokens(" on"), *[EOS_TOKEN_ID] * 4]
    assert to_action(task, "Go ", "on").tolist() == [*tokens("on"), *[EOS_TOKEN_ID] * 5]
    assert to_action(task, "机器", "学习").tolist() == [*tokens("学习"), EOS_TOKEN_ID]


def test_a_wrong_key_does_not_end_the_game() -> None:
    result = run_command("play", "--task", "TextGen-Copy-v0", typed="axyb\nabc\n")
    assert result.exit_code == 0, result.output
    message = "The tokenizer cannot encode the completion (its vocabulary has no 'x', 'y')"
    assert result.stdout.count(message) == 1
    assert result.stdout.endswith("of 1 completions\n")


@pytest.mark.parametrize(
    ("options", "typed", "lines"),
    [
        (("--banned-token-ids", "0", "--banned-token-ids", "1"), "abca", ["forbidden, so left out: 'a', 'b'"]),
        (("--allowed-token-ids", "2", "--allowed-token-ids", "5"), "c", []),
        (("--allowed-token-ids", "2"), "c", ["the end is forbidden"]),
        (("--min-new-tokens", "3"), "ca", ["the end is forbidden before 3 tokens"]),
    ],
)
def test_a_forbidden_token_is_left_out_as_a_models_is(options: tuple[str, ...], typed: str, lines: list[str]) -> None:
    result = run_command("play", "--task", "TextGen-Copy-v0", *options, typed=f"{typed}\n")
    assert result.exit_code == 0, result.output
    assert [line for line in result.stdout.splitlines() if "forbidden" in line] == lines
