"""Register the environments with Gymnasium, by name, so that nothing is loaded before one is made."""

import gymnasium


def register_environments() -> None:
    """Register `TextGen-v0` and `TextGenCompletion-v0`."""
    gymnasium.register(
        "TextGen-v0",
        entry_point="textgym.env:TextGenEnv",
        vector_entry_point="textgym.vector:TextGenVectorEnv",
    )
    gymnasium.register(
        "TextGenCompletion-v0",
        entry_point="textgym.completion:TextGenCompletionEnv",
        vector_entry_point="textgym.completion:TextGenCompletionVectorEnv",
    )
