"""The files of a pre-training run: checkpoint, log, and the record of recipe, parameters and machines."""

import csv
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2LMHeadModel


@dataclass(frozen=True)
class Recipe:
    """What decides a run's weights, besides the corpus.

    Attributes:
        steps: Optimiser steps.
        batch_size: Sequences an optimiser step.
        micro_batch_size: Sequences a forward pass; changes memory and speed only.
        context: Tokens of context.
        n_layer: Transformer blocks.
        n_embd: Hidden width.
        n_head: Attention heads.
        vocab_size: Tokens of the vocabulary, where a tokenizer has to be trained.
        warmup: Steps until the learning rate is at its peak.
        decay_fraction: Share of the steps in which the learning rate falls.
        learning_rate: Its peak.
        seed: Seed of weights and order.
        dropout: Probability with which embeddings and the outputs of blocks are dropped.
        weight_decay: Decay of all matrices a step, multiplied by the learning rate.
        bf16: Multiply matrices in bfloat16.
    """

    steps: int = 3000
    batch_size: int = 32
    micro_batch_size: int = 8
    context: int = 256
    n_layer: int = 5
    n_embd: int = 256
    n_head: int = 4
    vocab_size: int = 4096
    warmup: int = 100
    decay_fraction: float = 0.35
    learning_rate: float = 3e-3
    seed: int = 0
    dropout: float = 0.0
    weight_decay: float = 0.1
    bf16: bool = False

    @property
    def tokens_a_step(self) -> int:
        """Tokens seen in one optimiser step."""
        return self.batch_size * self.context


# What may differ between two sessions of one run.
_CHANGEABLE = {"steps", "micro_batch_size", "bf16"}
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
# What an exported model keeps of its run, beside its weights, so that a later run can begin from it.
EXPORTED_RECORD = "pretraining.json"


class RunFolder:
    """Reads and writes the files of one run.

    Args:
        path: The folder; made where it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    @property
    def checkpoint_file(self) -> Path:
        """Weights, optimisers, number of steps done and mean loss, for `torch.load`."""
        return self.path / "checkpoint.pt"

    @property
    def initial_file(self) -> Path:
        """Weights of an earlier run that this one begins with, and that run's history; absent for random weights."""
        return self.path / "initial.pt"

    @property
    def record_file(self) -> Path:
        """Recipe, parameters, tokens an epoch, sessions, and the earlier runs of `begin_from`."""
        return self.path / "run.json"

    @property
    def log_file(self) -> Path:
        """One row every so many steps."""
        return self.path / "log.csv"

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Write a checkpoint so that a kill at any moment leaves the old one or the new one, whole."""
        partial = self.checkpoint_file.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint_file)

    def load_checkpoint(self, device: str = "cpu") -> dict[str, Any] | None:
        """Return what `save_checkpoint` wrote last, None before the first time."""
        if not self.checkpoint_file.exists():
            return None
        state: dict[str, Any] = torch.load(self.checkpoint_file, map_location=device, weights_only=True)
        return state

    def begin_from(self, earlier: "RunFolder") -> None:
        """Give a new run another one's tokenizer, weights and history; a run that has begun so is left as it is.

        Args:
            earlier: A run with a checkpoint, or an exported model with the record of its run.

        Raises:
            ValueError: If there is neither, or this run began with other weights.
        """
        weights, runs = earlier.weights_and_history()
        if self.read_record() is not None:
            if self.earlier_runs() != runs:
                raise ValueError(
                    f"the run in {self.path} did not begin with the weights in {earlier.path}; give another output "
                    "folder"
                )
            return
        for name in _TOKENIZER_FILES:
            shutil.copyfile(earlier.path / name, self.path / name)
        torch.save({"model": weights, "earlier_runs": runs}, self.initial_file)

    def weights_and_history(self) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
        """Return the weights of the last checkpoint or of an exported model, and the runs that led there, oldest first.

        Raises:
            ValueError: If the folder holds neither.
        """
        state, record = self.load_checkpoint(), self.read_record()
        if state is not None and record is not None:
            return state["model"], [*record.pop("earlier_runs", []), {**record, "step": state["step"]}]
        exported = self.path / EXPORTED_RECORD
        if exported.exists():
            record = json.loads(exported.read_text(encoding="utf-8"))
            model = GPT2LMHeadModel.from_pretrained(self.path, dtype=torch.float32)
            return model.state_dict(), [*record.pop("earlier_runs", []), record]
        raise ValueError(
            f"expected a pre-training run in {self.path}, found neither {self.checkpoint_file.name} nor {exported.name}"
        )

    def load_initial_weights(self, device: str = "cpu") -> dict[str, torch.Tensor] | None:
        """Return the weights that the run begins with, None where they are random."""
        if not self.initial_file.exists():
            return None
        weights: dict[str, torch.Tensor] = torch.load(self.initial_file, map_location=device, weights_only=True)[
            "model"
        ]
        return weights

    def earlier_runs(self) -> list[dict[str, Any]]:
        """Return the records of the runs that this one's first weights come from, oldest first, with their `step`."""
        if not self.initial_file.exists():
            return []
        runs: list[dict[str, Any]] = torch.load(self.initial_file, weights_only=True)["earlier_runs"]
        return runs

    def append_log(self, row: dict[str, object]) -> None:
        """Append a row, with a header before the first."""
        is_new = not self.log_file.exists()
        with self.log_file.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row)
            if is_new:
                writer.writeheader()
            writer.writerow(row)

    def log_rows(self) -> list[dict[str, str]]:
        """Return the log's rows, oldest first."""
        if not self.log_file.exists():
            return []
        with self.log_file.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def read_record(self) -> dict[str, Any] | None:
        """Return the record, None before the first session."""
        if not self.record_file.exists():
            return None
        record: dict[str, Any] = json.loads(self.record_file.read_text(encoding="utf-8"))
        return record

    def write_json(self, file: Path, content: dict[str, Any]) -> None:
        """Write a JSON file whole or not at all."""
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(file)

    def check_recipe(self, recipe: Recipe) -> None:
        """Refuse to go on with another recipe than the run began with.

        Raises:
            ValueError: If a setting differs that makes another model of the same steps.
        """
        record = self.read_record()
        if record is None:
            return
        # Settings that are younger than the run have the defaults, which change nothing.
        for name, began_with in asdict(Recipe(**record["recipe"])).items():
            value = getattr(recipe, name)
            if name not in _CHANGEABLE and value != began_with:
                raise ValueError(
                    f"the run in {self.path} began with {name} {began_with}, got {value}; give the same value, or "
                    "another output folder"
                )
