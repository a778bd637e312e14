"""`textgym sft`: supervised fine-tuning on demonstrations, before reinforcement learning or instead of it."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from textgym.allocator import keep_freed_memory
from textgym.shell_words import as_typed

from .errors import checked_input
from .libraries import silence_libraries


def sft(
    data: Annotated[Path, typer.Option(help="A .jsonl or .csv file with the columns prompt and completion.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the model, new or empty.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="Run folder, model folder, hub name, or 'bundled'.")
    ] = "bundled",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data, at most.")] = 10,
    learning_rate: Annotated[float, typer.Option(help="Peak step size of AdamW.")] = 1e-4,
    batch_tokens: Annotated[int, typer.Option(min=1, help="Tokens a minibatch.")] = 4096,
    held_out: Annotated[
        float, typer.Option(help="Share of the data to measure with; 0 for none, and no early stop.")
    ] = 0.1,
    patience: Annotated[
        int, typer.Option(min=1, help="Stop after so many epochs that have not lowered the held-out loss.")
    ] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Decides what is held out, and the order.")] = 0,
    device: Annotated[str, typer.Option(help="PyTorch's name of a device, or 'auto'.")] = "auto",
) -> None:
    """Teach a language model the completions of demonstrations.

    The loss is on completions only. Training stops when the loss on held-out demonstrations no longer falls, and the
    best model is kept. The output folder is one that any `transformers` program loads.

    For example:

    ```
    textgym feedback export STORE demonstrations.jsonl --format demonstrations
    textgym sft --data demonstrations.jsonl --output runs/sft
    textgym train --model runs/sft
    ```
    """
    from rich.console import Console

    silence_libraries()
    keep_freed_memory()
    console = Console()
    with checked_input():
        from textgym.training.run_folder import RunFolder
        from textgym.training.sft import fine_tune
        from textgym.training.sft_options import SftOptions
        from textgym.training.stopping import TrainingStopped

        RunFolder(output).check_is_free()
        options = SftOptions(str(data), model, epochs, learning_rate, batch_tokens, held_out, patience, seed, device)
        output.parent.mkdir(parents=True, exist_ok=True)
        # A model that was stopped is one all the same.
        with suppress(TrainingStopped):
            fine_tune(options, output, console)
    console.print(
        f"Written to {output}. Go on with: textgym train --model {as_typed(output)}", soft_wrap=True, highlight=False
    )
