"""Models of other families: taken where cached rows and whole ones give their own logits, refused where they do not."""

from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    CohereConfig,
    Gemma2Config,
    GPTNeoConfig,
    GraniteConfig,
    MambaConfig,
    MistralConfig,
    OPTConfig,
    PretrainedConfig,
    Qwen2Config,
)

from tests.agents.tiny import VOCAB_SIZE, letter_task
from textgym.agents import DQN, PPO, TextGenVecEnv

SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 32,
    "initializer_range": 0.2,
    "pad_token_id": None,
    "bos_token_id": VOCAB_SIZE - 1,
    "eos_token_id": VOCAB_SIZE - 1,
}
TAKEN: dict[str, PretrainedConfig] = {
    "cohere, whose logits are scaled": CohereConfig(**SHAPE, logit_scale=0.3),
    "granite, whose logits are divided": GraniteConfig(**SHAPE, logits_scaling=3.0, embedding_multiplier=2.0),
    "gemma2, whose logits are bounded": Gemma2Config(**SHAPE, final_logit_softcapping=1.5, sliding_window=16),
    "mistral, whose window is wide": MistralConfig(**SHAPE, sliding_window=16),
    "opt, whose blocks lie deeper": OPTConfig(
        **{key: value for key, value in SHAPE.items() if key != "head_dim"}, ffn_dim=32, word_embed_proj_dim=16
    ),
    "qwen2": Qwen2Config(**SHAPE),
}
REFUSED: dict[str, tuple[PretrainedConfig, str]] = {
    "mistral": (MistralConfig(**SHAPE, sliding_window=3), "its attention reaches back only so far. Lower max_prompt"),
    "gemma2": (
        Gemma2Config(**SHAPE, sliding_window=3),
        "on rows of 13 tokens: read one by one they come out",
    ),
    "gpt_neo": (
        GPTNeoConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=16,
            num_layers=2,
            num_heads=2,
            window_size=3,
            attention_types=[[["global", "local"], 1]],
            max_position_embeddings=32,
            initializer_range=0.2,
        ),
        "TextGym cannot train a GPTNeoForCausalLM on rows of 13 tokens",
    ),
    "bloom": (BloomConfig(vocab_size=VOCAB_SIZE, hidden_size=16, n_layer=2, n_head=2), "TextGym cannot train a Bloom"),
    "mamba": (
        MambaConfig(vocab_size=VOCAB_SIZE, hidden_size=16, num_hidden_layers=2, state_size=4),
        "TextGym cannot train a MambaForCausalLM: it decodes models that are made of a trunk with a key-value cache",
    ),
}


def algorithm(kind: Any, config: PretrainedConfig, **settings: Any) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    kwargs = {"model": model, **settings.pop("policy_kwargs", {})}
    return kind("GPT2Policy", TextGenVecEnv(2, letter_task()), policy_kwargs=kwargs, seed=0, device="cpu", **settings)


@pytest.mark.parametrize("config", TAKEN.values(), ids=TAKEN)
def test_sampled_tokens_have_the_models_own_probabilities(config: PretrainedConfig) -> None:
    """As they were drawn, as an update scores them, and as the model's own forward pass gives them."""
    model = algorithm(PPO, config, n_steps=40, n_epochs=1, batch_size=1000)
    model.learn(1)
    buffer = model.rollout_buffer
    assert model.logger.name_to_value["train/clip_fraction"] == 0
    assert abs(model.logger.name_to_value["train/approx_kl"]) < 1e-5
    torch.manual_seed(0)
    untrained = AutoModelForCausalLM.from_config(config).eval()
    tokens, start, number = buffer.token_ids.tolist(), 0, 0
    for n_prompt, n_tokens in zip(buffer.prompt_lengths.tolist(), buffer.lengths.tolist(), strict=True):
        row = torch.tensor(tokens[start : start + n_prompt + n_tokens])
        with torch.no_grad():
            log_probs = untrained(row[None]).logits[0].log_softmax(-1)
        expected = log_probs[n_prompt - 1 : -1].gather(1, row[n_prompt:, None])[:, 0]
        torch.testing.assert_close(buffer.old_log_prob[number : number + n_tokens], expected, atol=1e-4, rtol=0)
        start, number = start + n_prompt + n_tokens, number + n_tokens


@pytest.mark.parametrize(("config", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("kind", [PPO, DQN])
def test_a_model_that_would_be_trained_wrongly_is_refused(kind: Any, config: PretrainedConfig, message: str) -> None:
    with pytest.raises(ValueError, match="TextGym cannot train a") as raised:
        algorithm(kind, config)
    assert message in str(raised.value)


def test_in_bfloat16_a_model_is_looked_at_in_float32() -> None:
    """Whose rounding would hide what is looked for, or look like it."""
    model = algorithm(PPO, MistralConfig(**SHAPE), policy_kwargs={"autocast": "bfloat16"})
    assert model.policy.autocast == "bfloat16"
    with pytest.raises(ValueError, match="reaches back only so far"):
        algorithm(PPO, MistralConfig(**SHAPE, sliding_window=3), policy_kwargs={"autocast": "bfloat16"})
