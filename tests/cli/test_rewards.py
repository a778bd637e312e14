"""`textgym rewards`: the list, one reward's documentation, a try and a check."""

import sys
from pathlib import Path

import pytest

from tests.cli.conftest import run_command
from textgym.rewards import reward_names
from textgym.rewards.catalogue import catalogue, describe_name
from textgym.training.logs import read_progress

THEIRS = '''
"""A package of somebody else's."""


class Shouting:
    """Share of capital letters, 0 to 1.

    More of it.
    """

    score_range = (0.0, 1.0)

    def __call__(self, completions, **columns):
        return [sum(map(str.isupper, text)) / max(len(text), 1) for text in completions]


def keeps_no_contract(completions, **columns):
    """Fails on an empty text."""
    return [1 / len(text) for text in completions]
'''


@pytest.fixture
def their_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution with three entry points, of which two cannot be loaded."""
    (tmp_path / "theirs.py").write_text(THEIRS)
    (tmp_path / "their_faults.py").write_text("1 / 0")
    information = tmp_path / "theirs-1.2.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.2\n")
    (information / "entry_points.txt").write_text(
        "[textgym.rewards]\nshouting = theirs:Shouting\nbroken = theirs.gone:reward\nfaulty = their_faults:reward\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "theirs", raising=False)


def test_the_list_has_every_name_with_range_and_source() -> None:
    result = run_command("rewards")
    assert result.exit_code == 0
    lines = {line.split()[0]: " ".join(line.split()) for line in result.stdout.splitlines() if line.strip()}
    assert set(reward_names()) <= lines.keys()
    assert lines["keywords"].startswith("keywords 0 to 1 Share of the given words that occur in the completion")
    assert "textgym.rewards.keywords" in lines["keywords"]
    assert lines["sentiment"].startswith("sentiment −1 to 1 Sentiment of an English completion")
    assert lines["clip"].startswith("clip as made Another reward's score")


def test_every_reward_that_comes_with_textgym_is_described() -> None:
    for entry in catalogue():
        assert entry.description.endswith(".") or entry.source.startswith("textgym") is False, entry


@pytest.mark.usefixtures("their_package")
def test_entry_points_are_listed_with_their_distribution_even_where_they_cannot_be_loaded() -> None:
    assert describe_name("shouting") == (
        "shouting",
        "Share of capital letters, 0 to 1.",
        "0 to 1",
        "theirs:Shouting (theirs 1.2)",
    )
    assert describe_name("broken").description.startswith("cannot be loaded: ")
    faulty = describe_name("faulty").description
    assert faulty.startswith("cannot be loaded: Reward 'their_faults:reward' cannot be imported: ")
    assert faulty.endswith("their_faults.py, line 1: ZeroDivisionError: division by zero.")
    result = run_command("rewards", "shouting", "--try", "The sea", "ABc ")
    assert (result.exit_code, result.stdout.splitlines()[0][:9]) == (0, "score 0.5")


def test_a_reward_is_explained_by_its_documentation() -> None:
    result = run_command("rewards", "repetition")
    assert result.exit_code == 0
    assert result.stdout.startswith("textgym.rewards.repetition:Repetition(n: int = 3, unit: ")
    assert "range 0 to 1\n\nShare of a completion's n-grams" in result.stdout
    made = run_command("rewards", "{keywords: {words: [sea]}, weight: 2}")
    assert made.stdout.startswith("2 * Keywords(['sea'])\nrange 0 to 2\n")


def test_a_completion_is_scored_term_by_term() -> None:
    spec = "[{keywords: {words: [sea, lake]}, weight: 2}, length_window: {minimum: 1, maximum: 9}]"
    result = run_command("rewards", spec, "--try", "At the", " sea")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "score 2 of 2 * Keywords(['sea', 'lake']) + LengthWindow(1, 9)",
        "  keywords                 0.5",
        "  length_window            1",
    ]


def test_columns_are_given_by_name() -> None:
    pytest.importorskip("rapidfuzz", reason="needs the extra similarity")
    result = run_command("rewards", "similarity", "--column", "reference=so good", "--try", "It was", "so good")
    assert result.stdout.startswith("score 1 of Similarity()\n")


@pytest.mark.usefixtures("their_package")
def test_a_reward_is_checked() -> None:
    assert run_command("rewards", "keywords", "--check").exit_code == 2
    kept = run_command("rewards", "{keywords: {words: [sea]}}", "--check")
    assert (kept.exit_code, kept.stdout) == (0, "It keeps the contract.\n")
    broken = run_command("rewards", "theirs:keeps_no_contract", "--check")
    assert broken.exit_code == 2
    assert broken.stderr.startswith("Error: Reward 'keeps_no_contract' breaks the contract:\n- an empty completion: ")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("keyword",), "Unknown reward 'keyword'. Did you mean 'keywords'? `textgym rewards` lists all names;"),
        (
            ("ends_sentence", "--column", "reference=a"),
            "--column needs --try or --check: without them, the reward is only explained.",
        ),
        (
            ("--try", "a", "b"),
            "--try, --column and --check need a reward: textgym rewards NAME --try PROMPT COMPLETION.",
        ),
        (("ends_sentence", "--column", "x", "--try", "a", "b"), "--column must be NAME=TEXT, got 'x'."),
        (
            ("similarity", "--try", "a", "b"),
            "Reward 'similarity' raised ValueError (Similarity compares with the column",
        ),
    ],
)
def test_bad_input_gets_one_line(arguments: tuple[str, ...], line: str) -> None:
    result = run_command("rewards", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {line}")


def test_a_run_trains_on_a_composition_in_a_line_and_logs_its_seconds(workplace: Path) -> None:
    spec = (
        "[{timed: {reward: 'my_rewards:few_letters'}}, {potential_shaping: {reward: ends_sentence}, weight: 0.5}, "
        "{cached: {reward: {whiten: {reward: repetition}}}, weight: -0.1}]"
    )
    options = ("--total-tokens", 60, "--eval-completions", 2, "--output", "run")
    result = run_command("train", "--config", "settings.yaml", "--reward", spec, *options)
    assert result.exit_code == 0, result.output
    row = read_progress(workplace / "run/progress.csv")[0]
    terms = {name.removeprefix("rollout/reward/") for name in row if name.startswith("rollout/reward/")}
    assert terms == {"few_letters", "few_letters_seconds", "ends_sentence", "repetition"}
    assert 0 < float(row["rollout/reward/few_letters_seconds"]) < 1
