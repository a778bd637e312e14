"""The main job's table, and how it gets into the README."""

from pathlib import Path
from typing import Any

import pytest

from textgym.benchmarks.main_job import DEMO, MARKS, markdown_table, quotations
from textgym.benchmarks.readme import write_into_readme


def row(seed: int, seconds: float | None) -> dict[str, Any]:
    """One seed's figures."""
    return {
        "seed": seed, "tokens": 1234, "seconds": seconds, "tokens_per_second": seconds and 500.0, "score_before": 0.25,
        "score": 0.957, "keywords": 0.5, "keywords_by_topic": {"films": 0.75}, "banned_words_before": 0.1,
        "banned_words": 0.01, "length_inside": 0.9, "kl": 12.34, "distinct_2_ratio": 0.8, "n_tokens": 20.0,
        "self_bleu_before": 0.1, "self_bleu": 0.25, "perplexity_before": 47.1, "perplexity": 150.4,
    }  # fmt: skip


def test_what_is_measured_is_what_make_demo_runs() -> None:
    makefile = Path(__file__).resolve().parents[2] / "Makefile"
    if not makefile.is_file():
        pytest.skip("the Makefile is in a checkout alone")
    assert f"/textgym train {DEMO}\n" in makefile.read_text(encoding="utf-8")


def test_a_seed_is_a_column_and_what_was_not_measured_is_a_dash() -> None:
    lines = markdown_table([row(1, 330.0), row(2, None)]).splitlines()
    assert lines[:3] == [
        "| on 256 held-out completions | seed 1 | seed 2 |",
        "|---|---:|---:|",
        "| tokens of training | 1,234 | 1,234 |",
    ]
    assert "| - prompts on films | 0.75 | 0.75 |" in lines
    assert "| completions with a banned word (before → after) | 10.0% → 1.0% | 10.0% → 1.0% |" in lines
    assert "| perplexity under the untrained model (before → after) | 47 → 150 | 47 → 150 |" in lines
    assert lines[-2:] == ["| tokens a second | 500 | - |", "| minutes in all | 5.5 | - |"]


def test_completions_are_quoted_as_text() -> None:
    completions = [{"prompt": "A *b*", "completion": "\n<b> # c"}, {"prompt": "2", "completion": " d"}]
    assert quotations(completions) == "> **A \\*b\\*** \\<b\\> \\# c\n>\n> **2** d"


def test_only_what_stands_between_the_marks_is_replaced(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"above\n{MARKS[0]}\nold\n{MARKS[1]}\nbelow\n", encoding="utf-8")
    write_into_readme("new", MARKS, readme)
    assert readme.read_text(encoding="utf-8") == f"above\n{MARKS[0]}\nnew\n{MARKS[1]}\nbelow\n"


def test_a_readme_without_the_marks_is_left_alone(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("nothing to replace\n", encoding="utf-8")
    with pytest.raises(ValueError, match="expected the marks"):
        write_into_readme("new", MARKS, readme)
    assert readme.read_text(encoding="utf-8") == "nothing to replace\n"
