"""Settings that ship with the package, by name: `textgym train --config rl4lms-imdb`."""

from pathlib import Path

from textgym.named_objects import nearest

FOLDER = Path(__file__).parent.parent / "bundled" / "configs"


def config_names() -> list[str]:
    """Return the names of the settings that ship with the package."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def find_config(path: Path) -> Path:
    """Return a file of settings: a file as it is named, or else one that ships with the package under that name.

    Raises:
        ValueError: If it is neither, and has no suffix to be a file by (with the nearest match).
    """
    if path.is_file() or path.suffix:
        return path
    if str(path) not in config_names():
        raise ValueError(
            f"There are no settings {str(path)!r}: expected a YAML file, or one of {', '.join(config_names())}, which "
            f"ship with TextGym.{nearest(str(path), config_names())}"
        )
    return FOLDER / f"{path}.yaml"
