"""Train the GPT-2 and the byte-level tokenizer that ship with TextGym, from a folder of plain text.

    python -m textgym.benchmarks.pretrain --corpus FOLDER --output FOLDER

`FOLDER` holds `*.txt` files, one text a line, one file a source. Every 50th text of a source is held out. The run can
be killed at any time: called again with the same output folder, it goes on at the last checkpoint. Afterwards

    python -m textgym.benchmarks.export --run FOLDER --corpus FOLDER --to FOLDER

measures the model on all held-out texts and writes what is shipped, with its model card.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer

from textgym.cli.errors import checked_input

from .pretraining.corpus import read_corpus
from .pretraining.run_folder import Recipe, RunFolder
from .pretraining.training import Pretraining


def main(
    corpus: Annotated[
        Path, typer.Option(help="Folder of *.txt files, one text a line, one file a source.", exists=True)
    ],
    output: Annotated[Path, typer.Option(help="Folder for checkpoints, log and the finished model.")],
    begin_from: Annotated[
        Path | None,
        typer.Option(help="Run or exported model to begin with; the learning rate rises and falls again."),
    ] = None,
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = Recipe.steps,
    batch_size: Annotated[int, typer.Option(help="Sequences an optimiser step.")] = Recipe.batch_size,
    micro_batch_size: Annotated[int, typer.Option(help="Sequences a forward pass.")] = Recipe.micro_batch_size,
    context: Annotated[int, typer.Option(help="Tokens of context.")] = Recipe.context,
    n_layer: Annotated[int, typer.Option(help="Transformer blocks.")] = Recipe.n_layer,
    n_embd: Annotated[int, typer.Option(help="Hidden width.")] = Recipe.n_embd,
    n_head: Annotated[int, typer.Option(help="Attention heads.")] = Recipe.n_head,
    vocab_size: Annotated[int, typer.Option(help="Tokens of the vocabulary.")] = Recipe.vocab_size,
    warmup: Annotated[int, typer.Option(help="Steps until the learning rate is at its peak.")] = Recipe.warmup,
    decay_fraction: Annotated[
        float, typer.Option(help="Share of the steps in which the rate falls.")
    ] = Recipe.decay_fraction,
    learning_rate: Annotated[float, typer.Option(help="Learning rate at its peak.")] = Recipe.learning_rate,
    seed: Annotated[int, typer.Option(help="Seed of weights and order.")] = Recipe.seed,
    dropout: Annotated[float, typer.Option(help="Share of embeddings and block outputs dropped.")] = Recipe.dropout,
    weight_decay: Annotated[
        float, typer.Option(help="Decay of matrices, times the learning rate.")
    ] = Recipe.weight_decay,
    device: Annotated[str, typer.Option(help="Device of PyTorch: cpu, cuda.")] = "cpu",
    bf16: Annotated[bool, typer.Option("--bf16", help="Multiply matrices in bfloat16, as GPUs do fast.")] = False,
    threads: Annotated[int | None, typer.Option(help="Threads of PyTorch; its own choice by default.")] = None,
) -> None:
    """Train the bundled tokenizer and GPT-2."""
    if threads is not None:
        torch.set_num_threads(threads)
    recipe = Recipe(
        steps=steps,
        batch_size=batch_size,
        micro_batch_size=micro_batch_size,
        context=context,
        n_layer=n_layer,
        n_embd=n_embd,
        n_head=n_head,
        vocab_size=vocab_size,
        warmup=warmup,
        decay_fraction=decay_fraction,
        learning_rate=learning_rate,
        seed=seed,
        dropout=dropout,
        weight_decay=weight_decay,
        bf16=bf16,
    )
    earlier = None if begin_from is None else RunFolder(begin_from)
    with checked_input():
        sources = read_corpus(corpus)
    Pretraining(recipe, sources, RunFolder(output), device, earlier).run()


if __name__ == "__main__":
    typer.run(main)
