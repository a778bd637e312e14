"""The memory of one update of a GPT-2 of 124 million parameters, on a whole rollout as one minibatch."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

GIGABYTE = 1 << 30
UPDATE = """
import sys
import numpy as np
import torch
from stable_baselines3.common.logger import configure
from tokenizers import Tokenizer, models
from transformers import GPT2Config, PreTrainedTokenizerFast
from tests.agents.tiny import share_of_a
from textgym.agents import A2C, TextGenVecEnv
from textgym.agents.flat_episodes import EpisodeRecord
from textgym.task import TextTask

n_episodes, prompt_length, length = int(sys.argv[1]) // 64, 16, 64
vocabulary = {str(number): number for number in range(50_256)} | {"<end>": 50_256}
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="<end>")), eos_token="<end>", pad_token="<end>"
)
task = TextTask(tokenizer, ["1"], share_of_a, max_prompt_tokens=prompt_length, max_new_tokens=length)
model = A2C(
    "GPT2Policy", TextGenVecEnv(1, task), ent_coef=0.01, seed=0, device="cpu",
    policy_kwargs={"model": GPT2Config(), "micro_batch_size": 1024},
)
assert model.find_reference() is not None
model.set_logger(configure(None, []))
generator, zeros = np.random.default_rng(0), torch.zeros(length)
ids = generator.integers(50_256, size=(n_episodes, prompt_length + length)).tolist()
buffer = model.rollout_buffer
buffer.reset()
buffer.fill([EpisodeRecord(row[:prompt_length], row[prompt_length:], zeros + 1, zeros, zeros) for row in ids])
buffer.estimate_returns()
before = model.policy.value_net.bias.clone()
model.train()
assert not torch.equal(model.policy.value_net.bias, before)
print(buffer.n_tokens, model._n_updates)
"""


@pytest.mark.slow
def test_a_whole_rollout_of_gpt2s_fits_in_8_gigabytes() -> None:
    """A2C's own update: 8,192 tokens in one step, with Adam's moments and the reference, micro-batches of 1,024."""
    command = [sys.executable, "-c", UPDATE, "8192"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["8192", "1"]
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 < 8 * GIGABYTE
