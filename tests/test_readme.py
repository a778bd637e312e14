"""The README says what is true: its file tree names every module, with the first sentence of its docstring."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("textgym", "rewards", "agents", "benchmarks")


def file_tree() -> str:
    """The lines that the README should hold for the modules of each folder."""
    lines = []
    for folder in FOLDERS:
        for module in sorted((ROOT / folder).rglob("*.py")):
            sentence = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
            first = sentence.split("\n\n")[0].replace("\n", " ")
            lines.append(f"- `{module.relative_to(ROOT).as_posix()}`: {first}")
    return "\n".join(lines)


@pytest.fixture
def readme() -> str:
    """The README's text."""
    path = ROOT / "README.md"
    if not path.is_file():
        pytest.skip("there is no README beside the tests: they run against an installed package")
    return path.read_text(encoding="utf-8")


def test_the_file_tree_repeats_each_modules_first_sentence(readme: str) -> None:
    """A line that is missing or differs is shown, ready to be pasted."""
    missing = [line for line in file_tree().splitlines() if line not in readme]
    assert not missing, "\n".join(missing)


def test_the_readme_names_no_file_that_is_gone(readme: str) -> None:
    """Every module that a line of the tree begins with exists."""
    named = [line.split("`")[1] for line in readme.splitlines() if line.startswith("- `")]
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
