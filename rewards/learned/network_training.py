"""The training of a reward network: epochs of batches, a progress bar, and an end once held-out loss rises."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from .encoding import encode_texts, pad, shuffled_batches, sorted_batches
from .network import RewardNetwork
from .objectives import Examples, Objective


@dataclass(frozen=True)
class TrainingOptions:
    """How a network learns; see `NetworkRewardModel`."""

    learning_rate: float
    epochs: int
    batch_size: int
    patience: int
    weight_decay: float
    comment_dropout: float
    max_tokens: int
    seed: int


class EpochLosses(NamedTuple):
    """Mean losses of one epoch.

    Attributes:
        training: Of the training batches, while they were learned from, with dropout.
        held_out: Of the held-out examples after the epoch.
    """

    training: float
    held_out: float


class EncodedExamples:
    """Examples as tokens, without comments, and with them where there are any."""

    def __init__(self, examples: Examples, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> None:
        self.examples = examples
        prompts, completions, comments = (list(column) for column in zip(*examples.texts, strict=True))
        self.plain = encode_texts(tokenizer, prompts, completions, [""] * len(prompts), max_tokens)
        commented = [index for index, comment in enumerate(comments) if comment]
        self.commented = dict(
            zip(
                commented,
                encode_texts(
                    tokenizer,
                    [prompts[index] for index in commented],
                    [completions[index] for index in commented],
                    [comments[index] for index in commented],
                    max_tokens,
                ) if commented else [],
                strict=True,
            )
        )  # fmt: skip

    def sequences(self, comment_dropout: float, generator: random.Random) -> list[list[int]]:
        """Return each text's tokens, with its comment, where it has one, unless that is dropped by chance."""
        return [
            self.commented[index] if index in self.commented and generator.random() >= comment_dropout else plain
            for index, plain in enumerate(self.plain)
        ]


def train_network(
    network: RewardNetwork,
    objective: Objective,
    tokenizer: PreTrainedTokenizerBase,
    training: Examples,
    held_out: Examples,
    options: TrainingOptions,
    console: Console | None,
) -> list[EpochLosses]:
    """Train a network, and leave it with the weights of the epoch that has the lowest held-out loss.

    AdamW; the learning rate rises over the first tenth of the steps and then falls to 0 linearly.

    Args:
        network: Changed; only parameters that require a gradient learn.
        objective: Prepared for the training feedback.
        tokenizer: The backbone's.
        training: What to learn from.
        held_out: What to stop by.
        options: How to learn.
        console: Where to show progress; None shows nothing.

    Returns:
        The losses of each epoch that was trained.

    Raises:
        ValueError: If a loss is no number any more.
    """
    encoded = EncodedExamples(training, tokenizer, options.max_tokens)
    encoded_held_out = EncodedExamples(held_out, tokenizer, options.max_tokens)
    generator = random.Random(options.seed)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=options.learning_rate, weight_decay=options.weight_decay, fused=True)
    n_batches = -(-len(training.targets) // options.batch_size)
    n_steps = n_batches * options.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate_factor(step, n_steps))
    losses: list[EpochLosses] = []
    best: list[Tensor] = []
    with _progress_bar(console) as progress, torch.random.fork_rng():
        torch.manual_seed(options.seed)
        bar = progress.add_task("", total=n_steps, losses="")
        for epoch in range(options.epochs):
            network.train()
            sequences = encoded.sequences(options.comment_dropout, generator)
            total, total_weight = 0.0, 0.0
            for batch in shuffled_batches(_lengths(sequences, training.n_texts), options.batch_size, generator):
                loss, weight = _batch_loss(network, objective, training, sequences, batch, tokenizer)
                if weight == 0:  # every item of the batch is of weight 0
                    schedule.step()
                    continue
                _check_loss(loss.item(), epoch, options)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
                optimizer.step()
                schedule.step()
                total, total_weight = total + weight * loss.item(), total_weight + weight
                progress.advance(bar)
            held_out_loss = _mean_loss(network, objective, held_out, encoded_held_out.plain, tokenizer, options)
            _check_loss(held_out_loss, epoch, options)
            losses.append(EpochLosses(total / total_weight, held_out_loss))
            line = f"epoch {epoch + 1} · loss {losses[-1].training:.4f} · held out {losses[-1].held_out:.4f}"
            progress.update(bar, losses=line)
            if console is not None and not console.is_terminal:
                console.print(line, highlight=False)
            best_epoch = min(range(len(losses)), key=lambda index: losses[index].held_out)
            if best_epoch == epoch:
                best = [parameter.detach().clone() for parameter in parameters]
            elif epoch - best_epoch >= options.patience:
                break
    with torch.no_grad():
        for parameter, value in zip(parameters, best, strict=True):
            parameter.copy_(value)
    network.eval()
    return losses


def _check_loss(loss: float, epoch: int, options: TrainingOptions) -> None:
    if not math.isfinite(loss):
        raise ValueError(
            f"The loss became {loss} in epoch {epoch + 1}; lower learning_rate, which is {options.learning_rate:g}."
        )


def _batch_loss(
    network: RewardNetwork,
    objective: Objective,
    examples: Examples,
    sequences: Sequence[Sequence[int]],
    batch: list[int],
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[Tensor, float]:
    """Return the mean loss of a batch of examples and their total weight."""
    device = network.head.weight.device
    rows = [sequences[index * examples.n_texts + text] for index in batch for text in range(examples.n_texts)]
    weights = examples.weights[batch].to(device, torch.float32)
    outputs = network(pad(rows, tokenizer.pad_token_id or 0, device))
    return objective.loss(outputs, examples.targets[batch].to(device), weights), float(weights.sum())


@torch.no_grad()
def _mean_loss(
    network: RewardNetwork,
    objective: Objective,
    examples: Examples,
    sequences: Sequence[Sequence[int]],
    tokenizer: PreTrainedTokenizerBase,
    options: TrainingOptions,
) -> float:
    network.eval()
    total, total_weight = 0.0, 0.0
    for batch in sorted_batches(_lengths(sequences, examples.n_texts), 2 * options.batch_size):
        loss, weight = _batch_loss(network, objective, examples, sequences, batch, tokenizer)
        if weight > 0:
            total, total_weight = total + weight * loss.item(), total_weight + weight
    return total / total_weight


def _lengths(sequences: Sequence[Sequence[int]], n_texts: int) -> list[int]:
    """Return the length of each example's longest text."""
    return [max(map(len, sequences[start : start + n_texts])) for start in range(0, len(sequences), n_texts)]


def _rate_factor(step: int, n_steps: int) -> float:
    """Return the share of the learning rate at a step."""
    n_warmup = max(1, n_steps // 10)
    return min((step + 1) / n_warmup, max(0.0, (n_steps - step) / max(1, n_steps - n_warmup)))


def _progress_bar(console: Console | None) -> Progress:
    columns: list[Any] = [
        BarColumn(bar_width=None),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} batches"),
        TextColumn("{task.fields[losses]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    ]
    is_shown = console is not None and console.is_terminal
    return Progress(*columns, console=console, disable=not is_shown, expand=True, transient=True)
