"""The training loop: batches in, checkpoints and log out, to be killed and resumed at any time."""

import time
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from textgym.benchmarks.machine import describe_machine, installed_versions

from .bits_per_byte import bits_per_byte
from .corpus import Source
from .optimizers import learning_rate_factor, make_optimizers
from .run_folder import Recipe, RunFolder
from .tokenizer import BatchOrder, encode_texts, load_or_train_tokenizer

STEPS_A_CHECKPOINT = 200
STEPS_A_LINE = 20
HELD_OUT_TEXTS_WHILE_TRAINING = 8


class MeanLoss:
    """Exponential moving average that counts the values it has seen, so that the first ones are not too low."""

    def __init__(self, decay: float = 0.98) -> None:
        self.decay = decay
        self.total = 0.0
        self.weight = 0.0

    def add(self, loss: float) -> None:
        """Take one more value into account."""
        self.total = self.decay * self.total + (1 - self.decay) * loss
        self.weight = self.decay * self.weight + (1 - self.decay)

    @property
    def value(self) -> float:
        """The average; NaN before the first value."""
        return self.total / self.weight if self.weight else float("nan")


def make_model(tokenizer: PreTrainedTokenizerFast, recipe: Recipe) -> GPT2LMHeadModel:
    """Make a GPT-2 with random weights, drawn from the recipe's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=len(tokenizer),
                n_positions=recipe.context,
                n_embd=recipe.n_embd,
                n_layer=recipe.n_layer,
                n_head=recipe.n_head,
                resid_pdrop=recipe.dropout,
                embd_pdrop=recipe.dropout,
                # Attention with dropout has no fused kernel on the CPU.
                attn_pdrop=0.0,
                # The same function as GPT-2's "gelu_new", computed by one fused kernel.
                activation_function="gelu_pytorch_tanh",
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        )


class Pretraining:
    """One session of a run: begins at the folder's checkpoint, or at random weights.

    Args:
        recipe: What to train.
        sources: Texts to train on, and to measure on.
        folder: Where the run's files are.
        device: PyTorch's name of a device.
        earlier: A run whose weights and tokenizer a new run begins with, instead of random weights; the learning rate
            rises and falls once more.

    Raises:
        ValueError: If the folder's run was begun with another recipe or from another run, or the earlier run has no
            checkpoint.
    """

    def __init__(
        self,
        recipe: Recipe,
        sources: list[Source],
        folder: RunFolder,
        device: str = "cpu",
        earlier: RunFolder | None = None,
    ) -> None:
        folder.check_recipe(recipe)
        self.recipe, self.sources, self.folder, self.device = recipe, sources, folder, torch.device(device)
        if earlier is not None:
            folder.begin_from(earlier)
        texts = [text for source in sources for text in source.training]
        self.tokenizer = load_or_train_tokenizer(folder.path, texts, recipe.vocab_size, recipe.context)
        encoded = encode_texts(self.tokenizer, texts)
        self.tokens_an_epoch = sum(map(len, encoded))
        self.batches = BatchOrder(encoded, recipe.batch_size, recipe.context, recipe.seed)
        self.model = make_model(self.tokenizer, recipe)
        self.model.to(self.device)  # type: ignore[arg-type]
        self.model.train()
        self.n_parameters = sum(parameter.numel() for parameter in self.model.parameters())
        self.optimizers = make_optimizers(self.model, recipe.learning_rate, recipe.weight_decay)
        self.peak_rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        self.loss = MeanLoss()
        self.step = 0
        self._load()
        self.first_step = self.step
        self._started = time.monotonic()

    def run(self) -> None:
        """Train to the recipe's last step, with a checkpoint and a line of the log every 200 steps."""
        print(f"{self.n_parameters:,} parameters, {self.tokens_an_epoch:,} tokens an epoch, at step {self.step}")
        self._write_record()
        while self.step < self.recipe.steps:
            self.learn(self.batches.batch(self.step))
            if self.step % STEPS_A_LINE == 0:
                print(f"step {self.step} loss {self.loss.value:.3f} {self._seconds():.0f} s", flush=True)
            if self.step % STEPS_A_CHECKPOINT == 0 and self.step < self.recipe.steps:
                self.save()
                self.log(HELD_OUT_TEXTS_WHILE_TRAINING)
        self.save()
        rows = self.folder.log_rows()
        if not rows or int(rows[-1]["step"]) < self.step:
            self.log(None)

    def learn(self, batch: Tensor) -> None:
        """Take one optimiser step on token ids of shape (batch_size, context)."""
        recipe = self.recipe
        loss_sum = 0.0
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            # What is dropped is a function of seed and step, so that a resumed run is the run.
            torch.manual_seed(recipe.seed * 1_000_000 + self.step)
            for micro in batch.split(recipe.micro_batch_size):
                tokens = micro.to(self.device)
                with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.bf16):
                    logits = self.model(tokens, use_cache=False).logits  # (micro_batch_size, context, V)
                loss = cross_entropy(logits[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten())
                loss = loss * len(micro) / recipe.batch_size
                loss.backward()
                loss_sum += loss.item()
        self.loss.add(loss_sum)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        factor = learning_rate_factor(self.step, recipe.steps, recipe.warmup, recipe.decay_fraction)
        for optimizer, rates in zip(self.optimizers, self.peak_rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            optimizer.step()
        self.model.zero_grad()
        self.step += 1

    def save(self) -> None:
        """Write the checkpoint, the language model and the record."""
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "loss": {"total": self.loss.total, "weight": self.loss.weight},
        }
        self.folder.save_checkpoint(state)
        self.model.save_pretrained(self.folder.path)
        self._write_record()

    def log(self, n_texts: int | None) -> None:
        """Append loss and held-out bits per byte to the log.

        Args:
            n_texts: Held-out texts of each source that are measured; None for all.
        """
        row: dict[str, object] = {
            "step": self.step,
            "tokens": self.step * self.recipe.tokens_a_step,
            "loss": round(self.loss.value, 4),
        }
        for source in self.sources:
            bits = bits_per_byte(self.model, self.tokenizer, source.held_out[:n_texts])
            row[f"bits_per_byte/{source.name}"] = round(bits, 4)
        print(row, f"{self._seconds():.0f} s", flush=True)
        self.folder.append_log(row)

    def _load(self) -> None:
        state = self.folder.load_checkpoint(str(self.device))
        if state is None:
            if (weights := self.folder.load_initial_weights(str(self.device))) is not None:
                self.model.load_state_dict(weights)
            return
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step = state["step"]
        # Checkpoints of the first version have no mean loss.
        if "loss" in state:
            self.loss.total, self.loss.weight = state["loss"]["total"], state["loss"]["weight"]

    def _write_record(self) -> None:
        before = self.folder.read_record()
        sessions = [] if before is None else before["sessions"]
        session: dict[str, Any] = {
            "first_step": self.first_step,
            "last_step": self.step,
            "seconds": round(self._seconds()),
            "device": str(self.device),
            "bf16": self.recipe.bf16,
            "machine": describe_machine(str(self.device)),
            "versions": installed_versions(),
        }
        # A session that was killed before its first checkpoint, or this one's own earlier record, is replaced.
        sessions = [earlier for earlier in sessions if earlier["first_step"] < self.first_step] + [session]
        record = {
            "recipe": asdict(self.recipe),
            "parameters": self.n_parameters,
            "tokens_an_epoch": self.tokens_an_epoch,
            "sessions": sessions,
            "earlier_runs": self.folder.earlier_runs(),
        }
        self.folder.write_json(self.folder.record_file, record)

    def _seconds(self) -> float:
        return time.monotonic() - self._started
