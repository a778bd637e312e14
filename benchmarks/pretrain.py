"""Train the GPT-2 and the byte-level tokenizer that ship with TextGym, from a folder of plain text.

    python -m textgym.benchmarks.pretrain --corpus FOLDER --output FOLDER

`FOLDER` holds `*.txt` files, one text a line, one file a source. Every 50th text of a source is held out.
The run can be killed at any time: called again with the same output folder, it goes on at the last checkpoint.

The learning rate rises, stays level and falls to zero over the last part (warm-up, stable, decay), so that a run
whose `--steps` is raised before the decay begins is the run that would have been longer from the start.
Hidden matrices are trained by Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/), scaled to
AdamW's step size (Liu et al. 2025, arXiv:2502.16982, eq. 4); embeddings, norms and biases by AdamW.
"""

import csv
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"
HELD_OUT_EVERY = 50


class Corpus(NamedTuple):
    """Texts of one source, apart by use."""

    name: str
    training: list[str]
    held_out: list[str]


def read_corpus(folder: Path) -> list[Corpus]:
    """Read every `*.txt` file of a folder, one text a line, and hold out every 50th text."""
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise ValueError(f"expected *.txt files with one text a line in {folder}, found none")
    sources = []
    for file in files:
        texts = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        held_out = texts[::HELD_OUT_EVERY]
        training = [text for index, text in enumerate(texts) if index % HELD_OUT_EVERY]
        sources.append(Corpus(file.stem, training, held_out))
    return sources


def train_tokenizer(texts: list[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE: any Unicode text encodes, and decodes to exactly itself."""
    bpe = ByteLevelBPETokenizer(add_prefix_space=False)
    bpe.train_from_iterator(texts, vocab_size=vocab_size, min_frequency=2, special_tokens=[END_OF_TEXT])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )


def encode_texts(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[list[int]]:
    """Return the token ids of each text, each followed by the end-of-text token."""
    eos = tokenizer.eos_token_id
    return [[*ids, eos] for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]


def epoch_blocks(encoded: list[list[int]], block: int, generator: torch.Generator) -> Tensor:
    """Shuffle the texts, join them and cut the stream into blocks.

    Returns:
        Token ids, shape (number of blocks, block); the remainder of the stream is left out.
    """
    order = torch.randperm(len(encoded), generator=generator).tolist()
    offset = int(torch.randint(block, (), generator=generator))
    stream = torch.tensor([token for index in order for token in encoded[index]][offset:], dtype=torch.long)
    n_blocks = len(stream) // block
    return stream[: n_blocks * block].view(n_blocks, block)


def bits_per_byte(
    model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, texts: list[str], stride: int = 128
) -> float:
    """Measure the negative log-likelihood of whole texts, in bits for each UTF-8 byte.

    Each text is preceded by the end-of-text token. Windows of the model's context overlap, so that every token but
    a text's first ones is predicted from at least `context - stride` earlier ones.
    """
    context = model.config.n_positions
    nats = 0.0
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]:
            tokens = torch.tensor([tokenizer.eos_token_id, *ids])
            scored_to = 1
            for start in range(0, max(1, len(tokens) - context + stride), stride):
                window = tokens[start : start + context].to(model.device)
                logits = model(window[None], use_cache=False).logits[0]
                first = scored_to - start
                nats += cross_entropy(logits[first - 1 : -1], window[first:], reduction="sum").item()
                scored_to = start + len(window)
    model.train(was_training)
    return nats / math.log(2) / sum(len(text.encode()) for text in texts)


def orthogonalize(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Replace a matrix by the nearest semi-orthogonal one, by a Newton-Schulz iteration.

    `torch.optim.Muon` does this in bfloat16, which processors without bfloat16 instructions emulate about 50 times
    slower than float32; this one works in the matrix's own precision.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / (matrix.norm() + 1e-7)
    transposed = x.size(0) > x.size(1)
    if transposed:
        x = x.T
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return torch.Tensor.t(x) if transposed else x


class Muon(torch.optim.Optimizer):
    """Momentum whose step is orthogonalized, for the weight matrices of hidden layers."""

    def __init__(self, params: Sequence[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.1) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step on all matrices."""
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                buffer = state["momentum_buffer"].lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(buffer, group["momentum"])
                # GPT-2 keeps query, key and value in one (D, 3 D) matrix; each is a matrix of its own.
                n_parts = 3 if parameter.size(1) == 3 * parameter.size(0) else 1
                parts = [orthogonalize(part) for part in update.chunk(n_parts, dim=1)]
                scale = 0.2 * math.sqrt(max(parts[0].shape))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(torch.cat(parts, dim=1), alpha=-group["lr"] * scale)


def make_optimizers(model: GPT2LMHeadModel) -> list[torch.optim.Optimizer]:
    """Give Muon the hidden matrices and AdamW the rest."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and ".h." in name]
    embeddings = [p for name, p in model.named_parameters() if p.ndim == 2 and ".h." not in name]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    adamw = torch.optim.AdamW(
        [{"params": embeddings, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=3e-3,
        betas=(0.9, 0.95),
    )
    return [Muon(matrices, lr=3e-3), adamw]


def learning_rate_factor(step: int, steps: int, warmup: int, decay_fraction: float) -> float:
    """Return the share of the peak learning rate at a step: up, level, down to zero."""
    decay_steps = int(steps * decay_fraction)
    return min(1.0, (step + 1) / warmup, max(0.0, (steps - step) / decay_steps))


def save_atomically(state: dict[str, object], file: Path) -> None:
    """Write a checkpoint so that a kill at any moment leaves the old one or the new one, whole."""
    partial = file.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(file)


def main(
    corpus: Annotated[Path, typer.Option(help="Folder of *.txt files, one text a line, one file a source.")],
    output: Annotated[Path, typer.Option(help="Folder for checkpoints, log and the finished model.")],
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 2600,
    batch_size: Annotated[int, typer.Option(help="Sequences an optimiser step.")] = 32,
    micro_batch_size: Annotated[int, typer.Option(help="Sequences a forward pass.")] = 8,
    context: Annotated[int, typer.Option(help="Tokens of context.")] = 256,
    n_layer: Annotated[int, typer.Option(help="Transformer blocks.")] = 5,
    n_embd: Annotated[int, typer.Option(help="Hidden width.")] = 256,
    n_head: Annotated[int, typer.Option(help="Attention heads.")] = 4,
    vocab_size: Annotated[int, typer.Option(help="Tokens of the vocabulary.")] = 4096,
    warmup: Annotated[int, typer.Option(help="Steps until the learning rate is at its peak.")] = 100,
    decay_fraction: Annotated[float, typer.Option(help="Share of the steps in which the rate falls.")] = 0.35,
    seed: Annotated[int, typer.Option(help="Seed of weights and order.")] = 0,
    device: Annotated[str, typer.Option(help="Device of PyTorch: cpu, cuda.")] = "cpu",
) -> None:
    """Train the bundled tokenizer and GPT-2."""
    sources = read_corpus(corpus)
    output.mkdir(parents=True, exist_ok=True)
    training_texts = [text for source in sources for text in source.training]
    if (output / "tokenizer.json").exists():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(output)
    else:
        tokenizer = train_tokenizer(training_texts, vocab_size)
        tokenizer.save_pretrained(output)
    encoded = encode_texts(tokenizer, training_texts)
    torch.manual_seed(seed)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=context,
            n_embd=n_embd,
            n_layer=n_layer,
            n_head=n_head,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            # The same function as GPT-2's "gelu_new", computed by one fused kernel.
            activation_function="gelu_pytorch_tanh",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    model.to(torch.device(device))  # type: ignore[arg-type]
    optimizers = make_optimizers(model)
    peak = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    first_step = 0
    checkpoint = output / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        first_step = state["step"]

    def save(step: int) -> None:
        save_atomically(
            {"model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers], "step": step},
            checkpoint,
        )
        model.save_pretrained(output)

    def log(step: int, loss: float, n_texts: int | None) -> None:
        row = {"step": step, "tokens": step * batch_size * context, "loss": round(loss, 4)}
        for source in sources:
            row[f"bits_per_byte/{source.name}"] = round(bits_per_byte(model, tokenizer, source.held_out[:n_texts]), 4)
        print(row, f"{time.monotonic() - started:.0f} s", flush=True)
        new = not (output / "log.csv").exists()
        with (output / "log.csv").open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)

    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {sum(map(len, encoded)):,} tokens an epoch")
    started = time.monotonic()
    blocks_an_epoch = epoch_blocks(encoded, context, torch.Generator().manual_seed(0)).size(0) - 1
    steps_an_epoch = blocks_an_epoch // batch_size
    epoch, blocks, average = -1, torch.empty(0), 0.0
    for step in range(first_step, steps):
        if step // steps_an_epoch != epoch:
            epoch = step // steps_an_epoch
            blocks = epoch_blocks(encoded, context, torch.Generator().manual_seed(seed * 10_000 + epoch))
        start = step % steps_an_epoch * batch_size
        for micro in blocks[start : start + batch_size].split(micro_batch_size):
            tokens = micro.to(device)
            logits = model(tokens, use_cache=False).logits
            loss = cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()) * len(micro) / batch_size
            loss.backward()
            average += 0.02 * loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        factor = learning_rate_factor(step, steps, warmup, decay_fraction)
        for optimizer, rates in zip(optimizers, peak, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            optimizer.step()
        model.zero_grad()
        average *= 0.98
        if (step + 1) % 20 == 0:
            unbiased = average / 0.98 / (1 - 0.98 ** (step + 1 - first_step))
            print(f"step {step + 1} loss {unbiased:.3f} {time.monotonic() - started:.0f} s", flush=True)
        if (step + 1) % 200 == 0:
            save(step + 1)
            log(step + 1, average / 0.98 / (1 - 0.98 ** (step + 1 - first_step)), n_texts=8)
    save(steps)
    log(steps, average, n_texts=None)


if __name__ == "__main__":
    typer.run(main)
