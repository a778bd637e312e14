"""The byte-level tokenizer, and texts as blocks of its tokens."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"


def load_or_train_tokenizer(
    folder: Path, texts: Sequence[str], vocab_size: int, context: int
) -> PreTrainedTokenizerFast:
    """Load the tokenizer of a folder; where there is none yet, train one and save it there."""
    if (folder / "tokenizer.json").exists():
        loaded: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
        return loaded
    tokenizer = train_tokenizer(texts, vocab_size, context)
    tokenizer.save_pretrained(folder)
    return tokenizer


def train_tokenizer(texts: Sequence[str], vocab_size: int, context: int) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE: any Unicode text encodes, and decodes to exactly itself.

    Args:
        texts: What merges are learned from.
        vocab_size: Tokens, of which 256 are the bytes and one ends a text.
        context: The model's context, kept as `model_max_length`.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        show_progress=False,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
        model_max_length=context,
    )


def encode_texts(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[list[int]]:
    """Return the token ids of each text, each followed by the end-of-text token."""
    eos = tokenizer.eos_token_id
    # Texts are longer than the context; they are joined and cut into blocks below, so no warning is due.
    encoded = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return [[*ids, eos] for ids in encoded]


def epoch_blocks(encoded: list[list[int]], block: int, generator: torch.Generator) -> Tensor:
    """Shuffle the texts, join them and cut the stream into blocks, from an offset that is drawn too.

    Returns:
        Token ids, shape (number of blocks, block); the remainder of the stream is left out.
    """
    order = torch.randperm(len(encoded), generator=generator).tolist()
    offset = int(torch.randint(block, (), generator=generator))
    stream = torch.tensor([token for index in order for token in encoded[index]][offset:], dtype=torch.long)
    n_blocks = len(stream) // block
    return stream[: n_blocks * block].view(n_blocks, block)


class BatchOrder:
    """Which token blocks are learned from at each step, a function of the seed and the step alone.

    Args:
        encoded: Token ids of each training text.
        batch_size: Blocks a step.
        block: Tokens a block.
        seed: Decides the order.

    Raises:
        ValueError: If the texts are too short for one batch an epoch.
    """

    def __init__(self, encoded: list[list[int]], batch_size: int, block: int, seed: int) -> None:
        self.encoded, self.batch_size, self.block, self.seed = encoded, batch_size, block, seed
        # One block less than a first epoch has, because the offset may cost another epoch one.
        n_blocks = epoch_blocks(encoded, block, torch.Generator().manual_seed(0)).size(0) - 1
        self.steps_an_epoch = n_blocks // batch_size
        if self.steps_an_epoch < 1:
            raise ValueError(
                f"expected texts of at least {batch_size + 2} blocks of {block} tokens, got "
                f"{sum(map(len, encoded))} tokens; lower the batch size or the context, or add text"
            )
        self._epoch = -1
        self._blocks = torch.empty(0)

    def batch(self, step: int) -> Tensor:
        """Return the token ids of a step, shape (batch_size, block)."""
        epoch = step // self.steps_an_epoch
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.seed * 10_000 + epoch)
            self._epoch, self._blocks = epoch, epoch_blocks(self.encoded, self.block, generator)
        start = step % self.steps_an_epoch * self.batch_size
        return self._blocks[start : start + self.batch_size]
