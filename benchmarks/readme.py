"""The README's numbers: each benchmark writes its part between two marks."""

from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def write_into_readme(text: str, marks: tuple[str, str], readme: Path = README) -> None:
    """Replace what stands between two marks.

    Raises:
        ValueError: If the marks are not there.
    """
    content = readme.read_text(encoding="utf-8")
    if any(content.count(mark) != 1 for mark in marks):
        raise ValueError(f"expected the marks {marks} once each in {readme}.")
    head, rest = content.split(marks[0])
    tail = rest.split(marks[1])[1]
    readme.write_text(f"{head}{marks[0]}\n{text}\n{marks[1]}{tail}", encoding="utf-8")
