"""One supervised fine-tuning: minibatches of packed demonstrations, the best weights so far, and the end."""

import copy
import math
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from textgym.finished_logits import finish_logits

from .demonstrations import Demonstration, PackedRows, pack
from .sft_options import SftOptions
from .stopping import StopRequest

WARMUP_SHARE = 0.05


class Epoch(NamedTuple):
    """What came of a pass over the data, or of its beginning, where a signal ended it.

    Attributes:
        epoch: Its number; 0 for before training.
        loss: Mean loss while learning, in nats a token of completions; None before training.
        held_out_loss: Loss on the held-out demonstrations after it; None without any.
        tokens_per_second: Tokens of prompts and completions; None before training.
        is_whole: Whether it went through all of the data.
    """

    epoch: int
    loss: float | None
    held_out_loss: float | None
    tokens_per_second: float | None = None
    is_whole: bool = True


def completion_loss(model: PreTrainedModel, rows: PackedRows) -> Tensor:
    """Return the summed cross-entropy of all completions' tokens, of which each demonstration sees only its own.

    Args:
        model: The language model.
        rows: On the model's device.

    Returns:
        A scalar in nats.
    """
    # Added to the scores, whichever attention the model runs.
    mask = torch.zeros(rows.is_attended().shape, device=rows.input_ids.device)
    mask = mask.masked_fill(~rows.is_attended(), torch.finfo(torch.float32).min)[:, None]  # (R, 1, L, L)
    hidden = model.base_model(
        input_ids=rows.input_ids, attention_mask=mask, position_ids=rows.position_ids, use_cache=False
    ).last_hidden_state
    is_target = rows.is_learned[:, 1:]
    # The head only where a token is learned: at V = 50,000 logits of prompts and padding would fill the memory.
    logits = finish_logits(model.get_output_embeddings()(hidden[:, :-1][is_target]).float(), model.config)
    return cross_entropy(logits, rows.input_ids[:, 1:][is_target], reduction="sum")


class SftTraining:
    """One fine-tuning: minibatches of packed rows, the best weights so far, and the end.

    Args:
        options: What and how.
        model: The language model, which learns.
        learned: Demonstrations to learn, at least one.
        held_out: Demonstrations to measure with; none for no early stop.
        row_length: Tokens of a packed row, at least those of the longest demonstration.
        console: Where progress is shown.

    Attributes:
        stopped_by: The signal that ended training before its time; None for none.
    """

    def __init__(
        self,
        options: SftOptions,
        model: PreTrainedModel,
        learned: list[Demonstration],
        held_out: list[Demonstration],
        row_length: int,
        console: Console,
    ) -> None:
        self.options, self.model, self.learned, self.console = options, model, learned, console
        self.device = next(model.parameters()).device
        self.row_length = row_length
        self.pad_token_id = int(learned[0].token_ids[-1])
        self.held_out = pack(held_out, row_length, self.pad_token_id) if held_out else None
        self.generator = random.Random(options.seed)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=0.0)
        n_tokens = sum(len(one.token_ids) for one in learned)
        self.n_batches = min(len(learned), math.ceil(n_tokens / options.batch_tokens))
        self.n_steps = options.epochs * self.n_batches
        self.step = 0
        self.stopped_by: signal.Signals | None = None

    def run(self) -> list[Epoch]:
        """Train, and leave the best weights in the model.

        Returns:
            What came of each epoch, before training first.

        Raises:
            ValueError: If the loss becomes infinite or NaN.
        """
        # Dropout is off here as in reinforcement learning; evaluation mode leaves gradients as they are.
        self.model.eval()
        epochs = [Epoch(0, None, self._held_out_loss())]
        self._say(epochs[0])
        best, best_weights = epochs[0], self._weights()
        with StopRequest("Stopping after this minibatch; once more to stop at once.") as stop, self._bar(stop) as bar:
            shown = bar.add_task("", total=self.n_steps, loss="")
            for number in range(1, self.options.epochs + 1):
                epoch = self._epoch(number, stop, bar, shown)
                if epoch is None:
                    break
                epochs.append(epoch)
                self._say(epoch)
                if best.held_out_loss is not None and epoch.held_out_loss is not None:
                    if epoch.held_out_loss < best.held_out_loss:
                        best, best_weights = epoch, self._weights()
                    if number - best.epoch >= self.options.patience:
                        break
        self.stopped_by = stop.received
        if best_weights is not None:
            self.model.load_state_dict(best_weights)
            self._say_best(best, len(epochs) - 1)
        return epochs

    def _epoch(self, number: int, stop: StopRequest, bar: Progress, shown: Any) -> Epoch | None:
        """Learn from all demonstrations once, or until asked to stop; None if that was so from the beginning."""
        started = time.monotonic()
        loss_sum, n_learned, n_tokens, n_batches = 0.0, 0, 0, 0
        for rows in self._batches():
            if stop.received is not None:
                break
            count = int(rows.is_learned.sum())
            for group in self.optimizer.param_groups:
                group["lr"] = self.options.learning_rate * self._rate()
            loss = completion_loss(self.model, rows.to(self.device))
            if not math.isfinite(loss.item()):
                raise ValueError(
                    f"The loss became {loss.item()} in epoch {number}, and nothing was written; take a learning_rate "
                    f"below {self.options.learning_rate:g}."
                )
            (loss / count).backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.step, n_batches = self.step + 1, n_batches + 1
            loss_sum, n_learned = loss_sum + loss.item(), n_learned + count
            n_tokens += int((rows.demonstration >= 0).sum())
            bar.update(shown, advance=1, loss=f"epoch {number}  loss {loss_sum / n_learned:.3f}")
        if not n_batches:
            return None
        speed = n_tokens / (time.monotonic() - started)
        return Epoch(number, loss_sum / n_learned, self._held_out_loss(), speed, n_batches == self.n_batches)

    def _rate(self) -> float:
        """Return the present share of the peak learning rate."""
        warmup = max(1, round(WARMUP_SHARE * self.n_steps))
        return min((self.step + 1) / warmup, (self.n_steps - self.step) / max(1, self.n_steps - warmup))

    def _batches(self) -> list[PackedRows]:
        """Return the demonstrations in a new order, as minibatches of equally many."""
        order = list(self.learned)
        self.generator.shuffle(order)
        members = [order[start :: self.n_batches] for start in range(self.n_batches)]
        return [pack(some, self.row_length, self.pad_token_id) for some in members]

    @torch.no_grad()
    def _held_out_loss(self) -> float | None:
        if self.held_out is None:
            return None
        n_rows = max(1, self.options.batch_tokens // self.row_length)
        total = 0.0
        for start in range(0, len(self.held_out.input_ids), n_rows):
            rows = PackedRows(*(tensor[start : start + n_rows] for tensor in self.held_out))
            total += completion_loss(self.model, rows.to(self.device)).item()
        return total / int(self.held_out.is_learned.sum())

    def _weights(self) -> dict[str, Any] | None:
        """Return a copy of the weights; None where nothing is held out, and the last are taken."""
        return None if self.held_out is None else copy.deepcopy(self.model.state_dict())

    @contextmanager
    def _bar(self, stop: StopRequest) -> Iterator[Progress]:
        columns = (BarColumn(), TextColumn("{task.fields[loss]}"), TimeRemainingColumn())
        progress = Progress(*columns, console=self.console)
        if not self.console.is_terminal:
            yield progress
            return
        with Live(Group(progress, stop), console=self.console, transient=True, refresh_per_second=10):
            stop.is_shown = True
            yield progress
            stop.is_shown = False

    def _say(self, epoch: Epoch) -> None:
        figures = {"loss": epoch.loss, "held-out loss": epoch.held_out_loss}
        parts = [f"{name} {value:.3f}" for name, value in figures.items() if value is not None]
        if epoch.tokens_per_second is not None:
            parts.append(f"{epoch.tokens_per_second:,.0f} tokens/s")
        if parts:
            number = f"{epoch.epoch}" if epoch.is_whole else f"{epoch.epoch}, in part"
            self.console.print(f"epoch {number}: {', '.join(parts)}", highlight=False)

    def _say_best(self, best: Epoch, n_epochs: int) -> None:
        if best.epoch == 0 and self.stopped_by is not None:
            said = "Stopped before the held-out loss was lower than at first: the model is written as it was."
        elif best.epoch == 0:
            said = (
                "No epoch has lowered the held-out loss: the model is written as it was. Take a smaller learning rate, "
                "more demonstrations, or hold none out (held_out 0)."
            )
        else:
            said = f"Kept epoch {best.epoch} of {n_epochs}, whose held-out loss is lowest."
        self.console.print(said, highlight=False, soft_wrap=True)
