"""The model card that ships beside the weights; every number in it comes from the files of the run."""

import re
import textwrap
from dataclasses import fields
from typing import Any

from .corpus import HELD_OUT_EVERY, ORIGINS, Origin
from .evaluation import WORDS_AN_OPENING
from .run_folder import Recipe

_HEAD = """\
---
language: en
library_name: transformers
pipeline_tag: text-generation
license: mit
---
# gpt2-textgym

A small GPT-2 that comes with TextGym, so that a first run needs no network. It is there to be trained further by
reinforcement learning, not to be relied on for what it says."""

_LIMITS = """\
## Limits

- It writes English, in the manner of its sources; what it says is made up.
- At temperature 1 most of the sentences that it samples have a slip of grammar; at 0.6 most have none, but they repeat
  themselves, and go over to films from other subjects. `benchmarks/NOTES.md` of the project has counts.
- It was chosen among six runs by the held-out texts above, whose figures flatter it a little.
- The tokenizer encodes any Unicode text and gives it back exactly, but its merges and the model were learned from
  English. TextGym's rewards, tokenizers and environments handle Chinese, with a model that does.
- Film reviews hold coarse language, speeches the prejudices of their centuries; both can come out.
- Neither instructions nor conversations were in the data."""


def write_model_card(record: dict[str, Any], config: dict[str, Any], evaluation: dict[str, Any]) -> str:
    """Write the card as Markdown.

    Args:
        record: The run's record, see `RunFolder.record_file`.
        config: The model's `config.json`.
        evaluation: What `evaluate_model` returned, and `step`, `loss` and `weights_bytes` of what it measured.
    """
    parts = [
        _HEAD,
        _architecture(record, config, evaluation),
        _data(evaluation),
        _recipe(record, evaluation),
        _quality(evaluation),
        _samples(evaluation),
        _LIMITS,
    ]
    return "\n\n".join(parts) + "\n"


def _architecture(record: dict[str, Any], config: dict[str, Any], evaluation: dict[str, Any]) -> str:
    megabytes = evaluation["weights_bytes"] / 1e6
    paragraph = _fill(
        f"`GPT2LMHeadModel` of `transformers`: {config['n_layer']} blocks, width {config['n_embd']}, "
        f"{config['n_head']} heads, context {config['n_positions']} tokens, {record['parameters']:,} parameters, input "
        f"and output embeddings shared. Half-precision safetensors, {megabytes:.1f} MB. The tokenizer is a byte-level "
        f"BPE of {config['vocab_size']:,} tokens; `<|endoftext|>` ends a text, begins one and pads."
    )
    return f"""\
## Architecture

{paragraph}

    from textgym.models import load_language_model, load_tokenizer

    model, tokenizer = load_language_model(), load_tokenizer()"""


def _data(evaluation: dict[str, Any]) -> str:
    rows = []
    for source in evaluation["sources"]:
        origin = ORIGINS.get(source["name"], Origin(source["name"], "not recorded"))
        megabytes = source["training_bytes"] / 1e6
        rows.append(f"| {origin.title} | {origin.licence} | {source['training_texts']:,} | {megabytes:.2f} |")
    table = "\n".join(rows)
    return f"""\
## Data

| source | licence | texts | MB |
|---|---|---|---|
{table}

Every {HELD_OUT_EVERY}th text of a source is held out and not counted here; tokenizer and model have not seen it."""


def _recipe(record: dict[str, Any], evaluation: dict[str, Any]) -> str:
    recipe = Recipe(**record["recipe"])
    runs = [*record.get("earlier_runs", []), {**record, "step": evaluation["step"]}]
    commands = "\n".join(
        f"    {pretrain_command(Recipe(**run['recipe']), number, len(runs))}" for number, run in enumerate(runs, 1)
    )
    rows = "\n".join(_session_row(session, number) for number, run in enumerate(runs, 1) for session in run["sessions"])
    tokens = sum(run["step"] * Recipe(**run["recipe"]).tokens_a_step for run in runs)
    steps = " and ".join(f"{run['step']:,}" for run in runs)
    decays = " and ".join(f"{run['recipe']['decay_fraction']:.0%}" for run in runs)
    before = runs[0]["sessions"][0]["first_step"]
    loss = "" if evaluation["loss"] is None else f"; mean training loss {evaluation['loss']:.3f} nats a token"
    unrecorded = f" The machine of the first {before:,} steps was not recorded." if before else ""
    paragraph = _fill(
        f"Muon for hidden matrices, AdamW for the rest, {recipe.batch_size} sequences of {recipe.context} tokens a "
        f"step. In each run the learning rate rises, stays, and falls to zero over the last {decays} of the steps. "
        f"After {steps} steps: {tokens:,} tokens seen, {tokens / record['tokens_an_epoch']:.1f} times the training "
        f"texts{loss}. Weights, measurements and this card were written by `textgym.benchmarks.export`, which scales "
        "matrices up and the gains before them down: they then have a usual size for steps of reinforcement learning, "
        "and what the model computes stays."
    )
    return f"""\
## Recipe

{commands}

{paragraph}

| run | steps | machine | threads | arithmetic | PyTorch | hours |
|---|---|---|---|---|---|---|
{rows}

Hours are those of the machine with all else that ran on it.{unrecorded}"""


def _session_row(session: dict[str, Any], run: int) -> str:
    machine = session["machine"]
    name = machine.get("gpu", f"{machine['cpu']}, {machine['cores']} cores")
    arithmetic = "bfloat16 matrix products" if session["bf16"] else "float32"
    cells = [
        run,
        f"{session['first_step']:,} to {session['last_step']:,}",
        name,
        machine["threads"],
        arithmetic,
        session["versions"]["torch"],
        f"{session['seconds'] / 3600:.2f}",
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def pretrain_command(recipe: Recipe, number: int = 1, n_runs: int = 1) -> str:
    """Return the command that repeats a run: its steps, and whatever is not a default.

    Args:
        recipe: The run's recipe.
        number: Which of the runs it is, from 1; each after the first begins with the weights of the one before.
        n_runs: How many runs there are.
    """
    output = "RUN" if n_runs == 1 else f"RUN{number}"
    arguments = [f"--begin-from RUN{number - 1}"] * (number > 1) + [f"--steps {recipe.steps}"]
    for field in fields(Recipe):
        value = getattr(recipe, field.name)
        if field.name == "steps" or value == field.default:
            continue
        option = "--" + field.name.replace("_", "-")
        arguments.append(option if value is True else f"{option} {value}")
    return f"python -m textgym.benchmarks.pretrain --corpus CORPUS --output {output} " + " ".join(arguments)


def _quality(evaluation: dict[str, Any]) -> str:
    rows = "\n".join(
        f"| {source['name']} | {source['held_out_texts']} | {source['held_out_bytes']:,} | "
        f"{source['bits_per_byte']:.3f} |"
        for source in evaluation["sources"]
    )
    return f"""\
## Held-out bits per byte

Negative log-likelihood of whole texts under the shipped weights, windows overlapping by half a context.

| source | texts | bytes | bits per byte |
|---|---|---|---|
{rows}"""


def _samples(evaluation: dict[str, Any]) -> str:
    samplings = evaluation["samplings"]
    first = samplings[0]
    last_seed = first["first_seed"] + len(first["samples"]) - 1
    paragraph = _fill(
        f"In brackets the first {WORDS_AN_OPENING} words of a held-out text, the sources in turn; then up to "
        f"{first['max_new_tokens']} tokens, seeds {first['first_seed']} to {last_seed}. ■ is an end that the model "
        "chose."
    )
    return "\n\n".join(["## Samples, not chosen", paragraph, *map(_samples_at_a_temperature, samplings)])


def _samples_at_a_temperature(sampling: dict[str, Any]) -> str:
    lines = []
    for number, sample in enumerate(sampling["samples"], start=1):
        # A missing space after the bracket is the model's own: it went on with the word.
        completion = re.sub(r"\s+", " ", sample["completion"]).rstrip()
        end = " ■" if sample["is_ended"] else ""
        lines.append(f"{number:2}. [{sample['opening']}]{completion}{end}")
    text = "\n".join(lines).replace("```", "'''")
    return f"""\
### Temperature {sampling["temperature"]:g}

```text
{text}
```"""


def _fill(paragraph: str) -> str:
    return textwrap.fill(paragraph, width=120, break_long_words=False, break_on_hyphens=False)
