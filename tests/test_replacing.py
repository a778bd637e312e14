"""A path holds the old or the new folder, whichever moment a process is killed at, and nothing whole is ever lost."""

from pathlib import Path

import pytest

from textgym.replacing import replacing_folder


def write(folder: Path, text: str) -> None:
    with replacing_folder(folder) as partial:
        (partial / "text").write_text(text)


def test_the_new_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    for text in ("first", "second"):
        write(tmp_path / "folder", text)
        assert (tmp_path / "folder" / "text").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_one_that_is_not_whole_leaves_the_old_one(tmp_path: Path) -> None:
    write(tmp_path / "folder", "first")
    with pytest.raises(KeyboardInterrupt), replacing_folder(tmp_path / "folder"):
        raise KeyboardInterrupt
    assert (tmp_path / "folder" / "text").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("has_new", [True, False])
def test_what_was_whole_when_a_process_was_killed_between_is_not_thrown_away(tmp_path: Path, has_new: bool) -> None:
    """Killed after the old folder had been moved aside; and the next writer fails as well."""
    for name in ("folder.old", *(["folder.partial"] if has_new else [])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "text").write_text(name)
    with pytest.raises(OSError, match="full"), replacing_folder(tmp_path / "folder"):
        raise OSError("full")
    assert (tmp_path / "folder" / "text").read_text() == ("folder.partial" if has_new else "folder.old")
