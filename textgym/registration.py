"""Register the environments with Gymnasium, by name, so that nothing is loaded before one is made."""

import gymnasium

# The tasks that algorithms are compared on, with their modules and the beginning of their classes' names.
BENCHMARK_TASKS = {
    "TextGen-Arithmetic-v0": ("arithmetic", "Arithmetic"),
    "TextGen-Copy-v0": ("strings", "Copy"),
    "TextGen-Detox-v0": ("detox", "Detox"),
    "TextGen-IncreasingNumbers-v0": ("numbers", "IncreasingNumbers"),
    "TextGen-Length-v0": ("length", "Length"),
    "TextGen-Reverse-v0": ("strings", "Reverse"),
    "TextGen-Sentiment-v0": ("sentiment", "Sentiment"),
}


def register_environments() -> None:
    """Register `TextGen-v0`, `TextGenCompletion-v0` and the benchmark's tasks."""
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
    for name, (module, prefix) in BENCHMARK_TASKS.items():
        gymnasium.register(
            name,
            entry_point=f"textgym.benchmarks.tasks.{module}:{prefix}Env",
            vector_entry_point=f"textgym.benchmarks.tasks.{module}:{prefix}VectorEnv",
        )
