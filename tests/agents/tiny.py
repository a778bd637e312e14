"""Tiny language models over letters, and tasks for them: small enough that a test can check every number."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from textgym.agents.policy import GPT2Policy
from textgym.agents.token_rules import TokenRules, token_rules
from textgym.env import observation_space
from textgym.task import TextTask

LETTERS = "abcdefghijk"
VOCAB_SIZE = len(LETTERS) + 1
EOS = len(LETTERS)
PROMPTS = ("a", "bcd", "ef", "ghijk")


def letter_tokenizer() -> PreTrainedTokenizerFast:
    """Make a tokenizer whose tokens are eleven letters, in order, and one end of sequence."""
    vocabulary = {**{letter: index for index, letter in enumerate(LETTERS)}, "<end>": EOS}
    tokenizer = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token="<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>", clean_up_tokenization_spaces=False
    )


def gpt2_config(**changes: Any) -> GPT2Config:
    """Return a GPT-2 of 2 layers and width 16 that is far from indifferent between tokens."""
    settings = {
        "vocab_size": VOCAB_SIZE,
        "n_positions": 32,
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 2,
        "initializer_range": 0.2,
        "bos_token_id": EOS,
        "eos_token_id": EOS,
    }
    return GPT2Config(**{**settings, **changes})


def llama_config(**changes: Any) -> LlamaConfig:
    """Return a Llama of 2 layers and width 16, with rotary positions and fewer key heads than query heads."""
    settings = {
        "vocab_size": VOCAB_SIZE,
        "max_position_embeddings": 32,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.2,
        "bos_token_id": EOS,
        "eos_token_id": EOS,
    }
    return LlamaConfig(**{**settings, **changes})


def language_model(config: PretrainedConfig | None = None, seed: int = 0) -> PreTrainedModel:
    """Make a model with random weights, the same for the same seed; without a configuration `gpt2_config`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(gpt2_config() if config is None else config)
    model.eval()
    return model


def share_of_a(prompts: list[str], completions: list[str], **columns: object) -> list[float]:
    """Pay the number of letters a, and a little for length, so that no two lengths are worth the same."""
    return [text.count("a") + 0.1 * len(text) for text in completions]


def letter_task(**arguments: Any) -> TextTask:
    """Make a task over letters, with prompts of 1, 3, 2 and 5 letters and up to 8 new ones."""
    defaults = {
        "tokenizer": letter_tokenizer(),
        "prompts": list(PROMPTS),
        "reward": share_of_a,
        "max_prompt_tokens": 5,
        "max_new_tokens": 8,
    }
    return TextTask(**{**defaults, **arguments})


def letter_policy(
    task: TextTask,
    model: PreTrainedModel | None = None,
    *,
    temperature: float = 1.0,
    rules: TokenRules | None = None,
    policy_class: type[GPT2Policy] = GPT2Policy,
) -> GPT2Policy:
    """Make a policy for a task, with a value head that is not 0 everywhere."""
    from gymnasium import spaces

    policy = policy_class(
        observation_space(task),
        spaces.Discrete(task.vocab_size),
        lambda _: 1e-3,
        model=language_model() if model is None else model,
        temperature=temperature,
        token_rules=token_rules(task) if rules is None else rules,
    )
    waken_critic(policy)
    policy.set_training_mode(False)
    return policy


def waken_critic(policy: GPT2Policy, seed: int = 7) -> None:
    """Give the value head, where there is one, random weights, the same for the same seed."""
    if policy.critic is None:
        return
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.value_net.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))


def single_context(task: TextTask, prompt_ids: Sequence[int], generated: Sequence[int]) -> dict[str, np.ndarray]:
    """Return the observation that `TextGen-v0` gives after a prompt and some generated tokens, written out by hand."""
    n_prompt, n_tokens = len(prompt_ids), len(prompt_ids) + len(generated)
    column = np.arange(task.context_length)
    input_ids = np.full(task.context_length, task.pad_token_id, dtype=np.int64)
    input_ids[:n_tokens] = [*prompt_ids, *generated]
    return {
        "input_ids": input_ids,
        "attention_mask": (column < n_tokens).astype(np.int8),
        "is_generated": ((column >= n_prompt) & (column < n_tokens)).astype(np.int8),
    }


def exactly(message: str) -> str:
    """Return a pattern for `pytest.raises(…, match=…)` that fits this message as a whole."""
    return f"^{re.escape(message)}$"


def full_logits(policy: GPT2Policy, context: Sequence[int]) -> torch.Tensor:
    """Return the language model's own logits after a context, by its plain forward pass, shape (V,)."""
    with torch.no_grad():
        logits: torch.Tensor = policy.language_model(input_ids=torch.tensor([list(context)])).logits[0, -1]
    return logits
