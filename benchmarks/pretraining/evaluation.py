"""What a trained model is measured by: held-out bits per byte, and samples that nobody chose."""

import math
from typing import Any, NamedTuple

import torch
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from .bits_per_byte import bits_per_byte
from .corpus import Source, n_bytes

N_SAMPLES = 20
TEMPERATURES = (1.0, 0.6)
WORDS_AN_OPENING = 4


class Opening(NamedTuple):
    """The first words of a held-out text."""

    source: str
    text: str


def held_out_openings(sources: list[Source]) -> list[Opening]:
    """Take the first four words of 20 held-out texts, the sources in turn, evenly spaced in each."""
    turns = math.ceil(N_SAMPLES / len(sources))
    openings = []
    for index in range(N_SAMPLES):
        turn, number = divmod(index, len(sources))
        source = sources[number]
        text = source.held_out[turn * len(source.held_out) // turns]
        openings.append(Opening(source.name, " ".join(text.split()[:WORDS_AN_OPENING])))
    return openings


def sample_completion(
    model: GPT2LMHeadModel,
    tokenizer: PreTrainedTokenizerFast,
    opening: str,
    temperature: float,
    max_new_tokens: int,
    seed: int,
) -> dict[str, Any]:
    """Sample one completion from all tokens.

    Returns:
        `completion`, and whether the model ended it by itself, `is_ended`.
    """
    prompt = tokenizer(opening, return_tensors="pt")
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(seed)
        ids = model.generate(  # type: ignore[misc]
            **prompt, do_sample=True, temperature=temperature, top_k=0, top_p=1.0, max_new_tokens=max_new_tokens
        )[0]
    generated = ids[prompt["input_ids"].shape[1] :]
    return {
        "completion": tokenizer.decode(generated, skip_special_tokens=True),
        "is_ended": bool((generated == tokenizer.eos_token_id).any()),
    }


def evaluate_model(
    model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, sources: list[Source], seed: int = 0
) -> dict[str, Any]:
    """Measure a model on all held-out texts and let it write.

    Args:
        model: In evaluation mode, on the CPU.
        tokenizer: The model's own.
        sources: Texts, of which only the held-out ones are read.
        seed: Seed of the first sample of each temperature; each next one has the next seed.

    Returns:
        What can be written as JSON: `sources`, one entry each, and `samplings`, one entry for each temperature, with
        how the samples were made, and the `samples`.
    """
    context = model.config.n_positions
    max_new_tokens = min(64, context // 2)
    openings = held_out_openings(sources)
    samplings = []
    for temperature in TEMPERATURES:
        samples = []
        for index, opening in enumerate(openings):
            sample = sample_completion(model, tokenizer, opening.text, temperature, max_new_tokens, seed + index)
            samples.append({"source": opening.source, "opening": opening.text, **sample})
        how = {"temperature": temperature, "max_new_tokens": max_new_tokens, "first_seed": seed}
        samplings.append({**how, "samples": samples})
    return {
        "sources": [
            {
                "name": source.name,
                "training_texts": len(source.training),
                "training_bytes": n_bytes(source.training),
                "held_out_texts": len(source.held_out),
                "held_out_bytes": n_bytes(source.held_out),
                "bits_per_byte": round(bits_per_byte(model, tokenizer, source.held_out), 4),
            }
            for source in sources
        ],
        "samplings": samplings,
    }
