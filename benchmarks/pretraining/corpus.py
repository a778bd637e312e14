"""Plain text by source: what is trained on, what is held out, and whose words they are."""

from pathlib import Path
from typing import NamedTuple

HELD_OUT_EVERY = 50


class Source(NamedTuple):
    """Texts of one source, apart by use."""

    name: str
    training: list[str]
    held_out: list[str]


class Origin(NamedTuple):
    """What a source is, and under which licence its texts may be passed on."""

    title: str
    licence: str


ORIGINS = {
    "movie_reviews_en": Origin("film reviews (Pang and Lee 2004, the polarity dataset)", "CC-BY-4.0"),
    "python_ml_docs_en": Origin("prose of the documentation of Python and scikit-learn", "PSF-2.0 and BSD-3-Clause"),
    "speeches_en": Origin("speeches of presidents of the United States", "public domain"),
}


def read_corpus(folder: Path) -> list[Source]:
    """Read every `*.txt` file of a folder, one text a line, and hold out every 50th text, the first included.

    Raises:
        ValueError: If the folder holds no such file, or a file has fewer than two texts.
    """
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise ValueError(f"expected *.txt files with one text a line in {folder}, found none")
    sources = []
    for file in files:
        texts = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        if len(texts) < 2:
            raise ValueError(f"expected at least two texts, one a line, in {file}, found {len(texts)}")
        held_out = texts[::HELD_OUT_EVERY]
        training = [text for index, text in enumerate(texts) if index % HELD_OUT_EVERY]
        sources.append(Source(file.stem, training, held_out))
    return sources


def n_bytes(texts: list[str]) -> int:
    """Return the number of UTF-8 bytes of all texts together."""
    return sum(len(text.encode()) for text in texts)
