"""Supervised fine-tuning: teach a language model the completions of demonstrations, and write the best one down."""

import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from textgym.devices import find_device
from textgym.models import load_language_model, load_tokenizer
from textgym.replacing import replacing_folder

from .demonstrations import Demonstration, load_demonstrations
from .model_folder import find_model
from .packing_check import check_packing
from .run_folder import write_json
from .sft_options import SftOptions
from .sft_training import Epoch, SftTraining
from .stopping import TrainingStopped

LONGEST_ROW = 1024
RECORD = "sft.json"


class SftMaterial(NamedTuple):
    """What learns, and what is learned.

    Attributes:
        tokenizer: The model's.
        model: The language model, on the CPU.
        learned: Demonstrations to learn.
        held_out: Demonstrations to measure with.
        room: The most tokens that one may have.
    """

    tokenizer: PreTrainedTokenizerBase
    model: PreTrainedModel
    learned: list[Demonstration]
    held_out: list[Demonstration]
    room: int


def fine_tune(options: SftOptions, output: Path, console: Console) -> list[Epoch]:
    """Fine-tune a model on demonstrations, and write the best epoch's as a folder that `textgym train --model` takes.

    The first Ctrl-C ends training after the present minibatch; the best model so far is written even then.

    Args:
        options: What and how.
        output: A folder, which is replaced.
        console: Where progress is shown.

    Returns:
        What came of each epoch, before training first.

    Raises:
        TrainingStopped: If a signal ended training; the model is written then.
        ValueError: If model or data cannot be found or used.
        OSError: If a file cannot be read or written.
    """
    tokenizer, model, learned, held_out, room = load_material(options)
    device = find_device(options.device)
    model.to(device)  # type: ignore[arg-type]
    check_packing(model, [*learned, *held_out])
    row_length = min(room, _row_length([*learned, *held_out]))
    training = SftTraining(options, model, learned, held_out, row_length, console)
    epochs = training.run()
    with replacing_folder(output) as partial:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(str(partial))
        counts = {"learned": len(learned), "held_out": len(held_out)}
        record = {"options": asdict(options), "demonstrations": counts, "epochs": [one._asdict() for one in epochs]}
        write_json(partial / RECORD, record)
    if training.stopped_by is not None:
        raise TrainingStopped(training.stopped_by)
    return epochs


def load_material(options: SftOptions) -> SftMaterial:
    """Load the model and read the demonstrations.

    Raises:
        ValueError: If model or data cannot be found or used, or too little is left to learn.
        OSError: If a file cannot be read.
    """
    source = find_model(options.model)
    tokenizer, model = load_tokenizer(source), load_language_model(source)
    room = min(LONGEST_ROW, getattr(model.config, "max_position_embeddings", LONGEST_ROW))
    demonstrations = load_demonstrations(options.data, tokenizer, room)
    return SftMaterial(tokenizer, model, *split(demonstrations, options.held_out, options.seed), room)


def split(
    demonstrations: Sequence[Demonstration], share: float, seed: int
) -> tuple[list[Demonstration], list[Demonstration]]:
    """Return what is learned and what is held out, at random; at least one of each where anything is held out."""
    order = list(demonstrations)
    random.Random(seed).shuffle(order)
    n_held_out = max(1, round(share * len(order))) if share > 0 else 0
    if n_held_out >= len(order):
        raise ValueError(
            f"expected demonstrations to learn besides those held out, got {len(order)} in all; add some, or hold none "
            "out (held_out 0)."
        )
    return order[n_held_out:], order[:n_held_out]


def _row_length(demonstrations: Sequence[Demonstration]) -> int:
    """Return a length of rows that several demonstrations fit in, without much padding."""
    return 4 * max(len(one.token_ids) for one in demonstrations)
