"""The steps of supervised fine-tuning equal those of a plain loop around AdamW."""

import copy
import random

import torch
from rich.console import Console

from tests.agents.tiny import language_model
from tests.cli.test_sft import DEMONSTRATIONS
from textgym.training.demonstrations import pack
from textgym.training.sft_options import SftOptions
from textgym.training.sft_training import SftTraining, completion_loss

N_EPOCHS, N_BATCHES = 15, 2
RATE = 1e-2


def test_the_weights_are_those_of_a_plain_loop_with_a_rate_that_rises_and_falls() -> None:
    model = language_model()
    plain = copy.deepcopy(model)
    options = SftOptions(data="", epochs=N_EPOCHS, learning_rate=RATE, batch_tokens=9, held_out=0.0, seed=5)
    SftTraining(options, model, DEMONSTRATIONS, [], 12, Console(quiet=True)).run()

    rates = [RATE / 2, RATE, *(RATE * n_left / 28 for n_left in range(28, 0, -1))]
    shuffled = random.Random(5)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=RATE, weight_decay=0.0)
    norms: list[float] = []
    for epoch in range(N_EPOCHS):
        order = list(DEMONSTRATIONS)
        shuffled.shuffle(order)
        for number in range(N_BATCHES):
            rows = pack(order[number::N_BATCHES], 12, pad_token_id=0)
            n_learned = sum(len(one.token_ids) - one.n_prompt for one in order[number::N_BATCHES])
            optimizer.zero_grad()
            (completion_loss(plain, rows) / n_learned).backward()
            norms.append(float(torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)))
            optimizer.param_groups[0]["lr"] = rates[N_BATCHES * epoch + number]
            optimizer.step()
    assert min(norms) < 1 < max(norms)
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
