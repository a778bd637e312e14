"""Measure how many completions a second each rule reward scores, on one core: a table, and a line of JSON at the end.

    python -m textgym.benchmarks.reward_speed

Completions have 48 tokens of the bundled tokenizer, cut from the bundled prompts in random order. Each reward is called
as a task calls it, in batches of 32, checks of what it gives back included. Seconds are those of the processor, so that
other work on the machine takes none away, and the best of several passes counts.
"""

import json
import time
from collections.abc import Callable
from typing import Annotated

import numpy as np
import typer

from textgym.models import load_tokenizer
from textgym.prompts import load_prompts
from textgym.reward_protocol import Reward, score_completions
from textgym.rewards import (
    BannedWords,
    EndsSentence,
    JsonValid,
    Keywords,
    LengthWindow,
    MissingPackageError,
    NumericOrder,
    Readability,
    Regex,
    Repetition,
    Sentiment,
    Similarity,
    Toxicity,
    reference_task,
)
from textgym.rewards.reference_task import REFERENCE_BANNED_WORDS, REFERENCE_KEYWORDS

from .machine import describe_machine

N_TOKENS = 48
BATCH = 32
TARGET = 20_000  # completions a second

REWARDS: dict[str, Callable[[], Reward]] = {
    "Keywords, 2 words": lambda: Keywords(REFERENCE_KEYWORDS),
    "BannedWords, 29 words": lambda: BannedWords(REFERENCE_BANNED_WORDS),
    "LengthWindow, tokens": lambda: LengthWindow(16, 40),
    "LengthWindow, words": lambda: LengthWindow(16, 40, unit="words"),
    "reference task": lambda: reference_task,
    "Regex": lambda: Regex(r"\d{4}-\d{2}-\d{2}"),
    "Repetition, words": lambda: Repetition(3),
    "Repetition, tokens": lambda: Repetition(3, unit="tokens"),
    "EndsSentence": EndsSentence,
    "Readability": Readability,
    "JsonValid": JsonValid,
    "NumericOrder": NumericOrder,
    "Toxicity (alt-profanity-check)": Toxicity,
    "Sentiment (VADER)": Sentiment,
    "Similarity, rouge_l (rapidfuzz)": lambda: Similarity("rouge_l"),
    "Similarity, bleu (sacrebleu)": lambda: Similarity("bleu"),
    "Similarity, chrf": lambda: Similarity("chrf"),
}


def make_completions(number: int, seed: int = 0) -> tuple[list[str], list[list[int]]]:
    """Return texts of 48 tokens, and the tokens."""
    tokenizer = load_tokenizer()
    texts = [text for text, _ in load_prompts("bundled")]
    encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
    generator = np.random.default_rng(seed)
    ids: list[int] = []
    while len(ids) < number * N_TOKENS:
        ids += [token for index in generator.permutation(len(encoded)) for token in encoded[index]]
    pieces = [ids[start : start + N_TOKENS] for start in range(0, number * N_TOKENS, N_TOKENS)]
    return tokenizer.batch_decode(pieces), pieces


def completions_per_second(reward: Reward, number: int, repeats: int) -> float:
    """Return how many completions a second a reward scores, in the best of some passes."""
    completions, ids = make_completions(number)
    references = [*completions[1:], completions[0]]
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        for begin in range(0, number, BATCH):
            part = slice(begin, begin + BATCH)
            columns = {"reference": references[part]}
            score_completions(reward, ["The sea"] * len(ids[part]), completions[part], columns, ids[part])
        seconds.append(time.process_time() - start)
    return number / min(seconds)


def main(
    number: Annotated[int, typer.Option(min=BATCH, help="Completions in a pass.")] = 2048,
    repeats: Annotated[int, typer.Option(min=1, help="Passes, of which the best counts.")] = 5,
) -> None:
    """Measure each rule reward, one after the other."""
    speeds: dict[str, float] = {}
    print(f"{'':<36} completions/s")
    for name, make in REWARDS.items():
        try:
            reward = make()
        except MissingPackageError as error:
            print(f"{name:<36} left out: {error}")
            continue
        speeds[name] = completions_per_second(reward, number, repeats)
        print(
            f"{name:<36} {speeds[name]:>13,.0f}{'' if speeds[name] >= TARGET else f'   below {TARGET:,}'}", flush=True
        )
    print(
        json.dumps(
            {"completions_per_second": {name: round(speed) for name, speed in speeds.items()}, **describe_machine()}
        )
    )


if __name__ == "__main__":
    typer.run(main)
