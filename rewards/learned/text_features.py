"""TF-IDF features of a text, for models of scikit-learn, and how these are written without pickle."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textgym.rewards.arguments import check_integer

from .libraries import require_library

# A word, or one Chinese or Japanese character: these scripts have no spaces, and pairs of characters are near to words.
TOKEN = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\W\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+"
MODEL_FILE = "model.skops"


def make_vectorizer(max_ngram: int, min_count: int) -> Any:
    """Make a TF-IDF vectoriser of words and of up to `max_ngram` of them in a row.

    Args:
        max_ngram: Longest sequence of words, at least 1.
        min_count: Texts in which a sequence has to occur, at least 1.

    Raises:
        ValueError: If one is below 1.
        TypeError: If one is no integer.
        MissingPackageError: If scikit-learn is not installed.
    """
    check_integer("max_ngram", max_ngram, least=1)
    check_integer("min_count", min_count, least=1)
    return require_library("sklearn.feature_extraction.text").TfidfVectorizer(
        token_pattern=TOKEN, ngram_range=(1, max_ngram), min_df=min_count, sublinear_tf=True
    )


def fit_vectorizer(vectorizer: Any, texts: Sequence[str]) -> Any:
    """Let a vectoriser find its sequences of words, and return the features of the texts, sparse, (N, D).

    Raises:
        ValueError: If there are none, or none occurs often enough.
    """
    try:
        return vectorizer.fit_transform(texts)
    except ValueError as error:
        least = vectorizer.min_df
        often = f"occurs in {least} of them" if least > 1 else "is of letters or digits"
        raise ValueError(
            f"The {len(texts)} texts have no sequence of words that {often}; give more feedback"
            f"{', or lower min_count' if least > 1 else ''}."
        ) from error


def write_estimator(estimator: Any, folder: Path) -> None:
    """Write an object of scikit-learn by skops."""
    require_library("skops.io").dump(estimator, folder / MODEL_FILE)


def read_estimator(folder: Path, trusted: Sequence[str] = ()) -> Any:
    """Read an object of scikit-learn, and refuse whatever skops does not trust.

    Args:
        folder: Where it was written.
        trusted: Further types that the caller checks itself, by their dotted names.

    Raises:
        ValueError: If the file holds other types that skops does not know to be harmless.
    """
    skops = require_library("skops.io")
    file = folder / MODEL_FILE
    untrusted = sorted(set(map(str, skops.get_untrusted_types(file=file))) - set(trusted))
    if untrusted:
        raise ValueError(
            f"{file} holds types that are not known to be harmless: {', '.join(untrusted)}. Only files that "
            "textgym has written are expected here."
        )
    return skops.load(file, trusted=list(trusted))
