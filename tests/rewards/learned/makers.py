"""Feedback whose truth is known, and a tiny encoder and GPT-2 of random weights."""

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from textgym.rewards.learned import Feedback, Rating

GOOD = ("wonderful", "bright", "lovely")
BAD = ("dreadful", "dull", "ugly")
NEUTRAL = ("film", "scene", "story", "actor", "song", "city")
WORDS = (*GOOD, *BAD, *NEUTRAL)


def rated_films(n: int, seed: int = 0, raters: int = 3) -> Feedback:
    """Return n different texts of five words, rated by good minus bad words, by each rater with an error below ½."""
    generator = random.Random(seed)
    texts: dict[str, float] = {}
    while len(texts) < n:
        words = generator.choices(WORDS, k=5)
        texts[" ".join(words)] = float(sum((word in GOOD) - (word in BAD) for word in words))
    return Feedback(
        tuple(
            Rating("A ", text, tuple(rating + generator.uniform(-0.5, 0.5) for _ in range(raters)))
            for text, rating in texts.items()
        )
    )


def word_tokenizer(is_encoder: bool) -> PreTrainedTokenizerFast:
    """Return a tokenizer of whole words, with an encoder's separators or with an end of sequence only."""
    special = ["[CLS]", "[SEP]", "[PAD]", "[UNK]"] if is_encoder else ["<end>", "[UNK]"]
    vocabulary = {word: index for index, word in enumerate([*special, "A", "B", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if is_encoder:
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]"
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="[UNK]")


def save_tiny_encoder(folder: Path, n_layers: int = 2) -> str:
    """Write a BERT of few layers and width 16."""
    tokenizer = word_tokenizer(is_encoder=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=n_layers, num_attention_heads=2,
            intermediate_size=32, max_position_embeddings=64, initializer_range=0.3,
        )  # fmt: skip
        BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(str(folder))
    return str(folder)


def save_tiny_gpt2(folder: Path) -> str:
    """Write a GPT-2 of 2 layers and width 16, with its language head."""
    tokenizer = word_tokenizer(is_encoder=False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=len(tokenizer), n_embd=16, n_layer=2, n_head=2, n_positions=64, initializer_range=0.3,
            bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(str(folder))
    return str(folder)
