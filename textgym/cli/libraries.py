"""Libraries' own chatter, which has no place between a command's lines."""


def silence_libraries() -> None:
    """Keep transformers' progress bars and notes off the terminal; its errors still come as exceptions."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
