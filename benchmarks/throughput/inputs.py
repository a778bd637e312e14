"""What is measured with: sizes, a GPT-2 of random weights, and prompts of an exact number of tokens."""

import itertools
import math
import string
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from textgym.agents.precision import Autocast
from textgym.task import TextTask


@dataclass(frozen=True)
class Setting:
    """Sizes of network and texts, and where they are worked on.

    Attributes:
        n_layer: Transformer blocks.
        n_embd: Hidden width.
        n_head: Attention heads.
        vocab_size: Tokens of the vocabulary.
        num_envs: Environments, and rows that are decoded side by side.
        prompt_tokens: Tokens of each prompt.
        new_tokens: Tokens of each completion.
        completions_per_prompt: Successive environments that get the same prompt.
        batch_size: Tokens a minibatch of an update.
        n_epochs: Times that an update goes through a rollout.
        device: PyTorch's name of the device.
        autocast: Precision of matrix products; None for float32.
        long_tokens: Tokens of each completion where long ones are measured, or None.
        with_gpt2_shape: Whether the network of the smallest GPT-2 is measured too.
        rollout_rows: Rows decoded side by side where rollouts are measured alone.
        environment_counts: Environments side by side where they are measured without a network.
        most_processes: How many environments are measured with a process each, at most.
        seconds: How long environments are stepped a repeat, and what takes less time is done again.
        growing_tokens: Tokens of a completion along which growth is measured.
        growing_envs: Environments, likewise.
        growing_vocab: Vocabulary, likewise.
        kinds: Kinds of cases that are measured unless others are named; empty for all.
    """

    n_layer: int = 4
    n_embd: int = 256
    n_head: int = 4
    vocab_size: int = 8192
    num_envs: int = 16
    prompt_tokens: int = 16
    new_tokens: int = 48
    completions_per_prompt: int = 1
    batch_size: int = 256
    n_epochs: int = 1
    device: str = "cpu"
    autocast: Autocast | None = None
    long_tokens: int | None = 240
    with_gpt2_shape: bool = True
    rollout_rows: tuple[int, ...] = (16, 64)
    environment_counts: tuple[int, ...] = (1, 16, 256, 4096)
    most_processes: int = 16
    seconds: float = 2.0
    growing_tokens: tuple[int, ...] = (16, 64, 256, 1024)
    growing_envs: tuple[int, ...] = (1, 16, 64, 256, 1024)
    growing_vocab: tuple[int, ...] = (8192, 50257)
    kinds: tuple[str, ...] = ()

    @property
    def rollout_tokens(self) -> int:
        """Tokens generated in one rollout of one episode an environment."""
        return self.num_envs * self.new_tokens

    @property
    def precision(self) -> str:
        """Name of the precision of matrix products."""
        return self.autocast or "float32"

    def describe(self) -> str:
        """Return the sizes of network and texts in a line."""
        group = self.completions_per_prompt
        return (
            f"GPT-2 {self.n_layer}×{self.n_embd}, vocabulary {self.vocab_size:,}, {self.num_envs} environments, "
            f"{self.prompt_tokens} + {self.new_tokens} tokens"
        ) + (f", {group} completions a prompt" if group > 1 else "")


MIN_UNEQUAL_TOKENS = 8
QUICK = Setting(
    n_layer=2,
    n_embd=32,
    n_head=2,
    vocab_size=512,
    num_envs=4,
    prompt_tokens=4,
    new_tokens=6,
    batch_size=12,
    long_tokens=None,
    with_gpt2_shape=False,
    rollout_rows=(4, 16),
    environment_counts=(4,),
    most_processes=0,
    seconds=0.1,
    growing_tokens=(3, 6),
    growing_envs=(4,),
    growing_vocab=(512,),
)
H200 = Setting(
    n_layer=12,
    n_embd=768,
    n_head=12,
    vocab_size=50257,
    num_envs=256,
    prompt_tokens=64,
    new_tokens=128,
    batch_size=8192,
    n_epochs=4,
    device="cuda",
    autocast="bfloat16",
    long_tokens=None,
    with_gpt2_shape=False,
    rollout_rows=(256,),
    growing_tokens=(64, 128, 512),
    growing_envs=(16, 256, 1024),
    growing_vocab=(8192, 50257),
    kinds=("iteration", "rollout", "update", "growth"),
)
SETTINGS = {"cpu": Setting(), "h200": H200}


def make_tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """Make a tokenizer that encodes bytes as themselves and can decode any number of further tokens.

    Args:
        vocab_size: Tokens: 256 bytes, groups of letters and digits, and the end of sequence as the last.
    """
    characters = string.ascii_letters + string.digits
    groups = ("".join(group) for size in (2, 3) for group in itertools.product(characters, repeat=size))
    names = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *itertools.islice(groups, vocab_size - 257)]
    tokenizer = Tokenizer(models.BPE(vocab={name: index for index, name in enumerate(names)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>", clean_up_tokenization_spaces=False
    )


def make_prompts(number: int, length: int) -> list[str]:
    """Draw prompts of random letters, one token each in `make_tokenizer`."""
    generator = np.random.default_rng(0)
    letters = list(string.ascii_lowercase)
    return ["".join(generator.choice(letters, length)) for _ in range(number)]


def share_of_vowels(prompts: Sequence[str], completions: Sequence[str], **columns: object) -> list[float]:
    """Pay the share of vowels in a completion: a reward that costs nearly nothing."""
    return [sum(map(text.count, "aeiou")) / max(1, len(text)) for text in completions]


def make_unequal_task(setting: Setting, n_prompts: int) -> TextTask:
    """Make a task whose completions end by themselves, at the earliest after `MIN_UNEQUAL_TOKENS` tokens."""
    return TextTask(
        make_tokenizer(setting.vocab_size),
        make_prompts(n_prompts, setting.prompt_tokens),
        share_of_vowels,
        max_prompt_tokens=setting.prompt_tokens,
        max_new_tokens=setting.new_tokens,
        min_new_tokens=min(MIN_UNEQUAL_TOKENS, setting.new_tokens),
        prompt_order="sequential",
    )


def end_texts_at_random(model: GPT2LMHeadModel, mean_length: int) -> GPT2LMHeadModel:
    """Give the end of sequence, the last token, a probability of about 1 / `mean_length` everywhere, in place."""
    head, norm = model.lm_head.weight, model.transformer.ln_f
    with torch.no_grad():
        # Random weights leave all logits near 0; the final norm's bias and the token's row are turned to each other,
        # the bias so long that what the norm gives without it hardly counts.
        direction = torch.zeros(head.shape[1])
        direction[0] = 20.0
        norm.bias.copy_(direction)
        head[-1] = math.log(len(head) / mean_length) * direction / direction.square().sum()
    return model


def make_task(setting: Setting) -> TextTask:
    """Make a task whose completions all have the same length, since the end of sequence is banned."""
    return TextTask(
        make_tokenizer(setting.vocab_size),
        make_prompts(setting.num_envs, setting.prompt_tokens),
        share_of_vowels,
        max_prompt_tokens=setting.prompt_tokens,
        max_new_tokens=setting.new_tokens,
        banned_token_ids=[setting.vocab_size - 1],
        completions_per_prompt=setting.completions_per_prompt,
        prompt_order="sequential",
    )


def make_model(setting: Setting) -> GPT2LMHeadModel:
    """Make a GPT-2 with random weights, the same ones each time."""
    config = GPT2Config(
        vocab_size=setting.vocab_size,
        n_positions=max(64, setting.prompt_tokens + setting.new_tokens),
        n_layer=setting.n_layer,
        n_embd=setting.n_embd,
        n_head=setting.n_head,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=setting.vocab_size - 1,
        eos_token_id=setting.vocab_size - 1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPT2LMHeadModel(config)
    model.eval()
    return model
