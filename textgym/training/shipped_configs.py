"""Settings that ship with the package, by name: `textgym train --config rl4lms-imdb`, `textgym rlhf films`."""

from pathlib import Path

from textgym.named_objects import nearest

BUNDLED = Path(__file__).parent.parent / "bundled"
# Settings of `textgym train`, and of `textgym rlhf`.
CONFIGS, LOOPS = BUNDLED / "configs", BUNDLED / "loops"


def config_names(folder: Path = CONFIGS) -> list[str]:
    """Return the names of the settings in a folder that ships with the package."""
    return sorted(file.stem for file in folder.glob("*.yaml"))


def find_config(path: Path, folder: Path = CONFIGS) -> Path:
    """Return a file of settings: a file as it is named, or else one that ships with the package under that name.

    Raises:
        ValueError: If it is neither, and has no suffix to be a file by (with the nearest match).
    """
    if path.is_file() or path.suffix:
        return path
    names = config_names(folder)
    if str(path) not in names:
        raise ValueError(
            f"There are no settings {str(path)!r}: expected a YAML file, or one of {', '.join(names)}, which "
            f"ship with TextGym.{nearest(str(path), names)}"
        )
    return folder / f"{path}.yaml"
