"""Beginnings of IMDB's film reviews as prompts, for the settings `rl4lms-imdb`; they come from the hub, or a folder."""

from typing import Any, Literal

from textgym.models import load_tokenizer


def imdb_prompts(
    split: Literal["train", "test"],
    tokenizer: str,
    n_tokens: int = 64,
    size: int | None = None,
    source: str = "stanfordnlp/imdb",
) -> list[str]:
    """Return the first tokens of film reviews, as text.

    Args:
        split: The data set's own.
        tokenizer: Whose tokens are counted.
        n_tokens: Tokens of a prompt, at most.
        size: The first so many reviews of a fixed order; None for all.
        source: A data set on the Hugging Face hub, or a folder with a file for each split, with a column `text`.

    Raises:
        ValueError: If the library `datasets` is not installed.
        OSError: If the data set cannot be loaded.
    """
    try:
        from datasets import load_dataset
    except ModuleNotFoundError as error:
        raise ValueError("imdb_prompts needs the package datasets; install it by: pip install datasets") from error
    # The data set has all bad reviews before all good ones.
    rows: Any = load_dataset(source, split=split).shuffle(seed=0)
    texts: list[str] = rows[: len(rows) if size is None else min(size, len(rows))]["text"]
    counted = load_tokenizer(tokenizer)
    encoded: list[list[int]] = counted(texts, add_special_tokens=False)["input_ids"]
    return [str(counted.decode(ids[:n_tokens])) for ids in encoded]
