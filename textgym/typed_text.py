"""Text that a person types after a prompt: a space is put where a word would otherwise run into another."""


def spaced(context: str, text: str) -> str:
    """Return a text with a space before it where its first word would run into the context's last one.

    Chinese and Japanese need none.

    >>> spaced("The film", "was dull."), spaced("天气", "很好"), spaced("It ends. ", "So")
    (' was dull.', '很好', 'So')
    """
    last, first = context[-1:], text[:1]
    joins_words = last.isascii() and last.isalnum() and first.isascii() and first.isalnum()
    return " " + text if joins_words else text
