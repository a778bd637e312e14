"""How far a learned reward can be followed: PPO on a model of film ratings, watched by two judges it cannot see.

    python -m textgym.benchmarks.over_optimisation --data RATINGS.tsv

The file has the columns `domain`, `text` and `ratings` (those of all raters, with spaces between them). One half of
the snippets teaches the reward, ridge regression on words; the other half a judge of another family, a support
vector machine. The second judge is VADER's lexicon, which people made. PPO trains the bundled GPT-2 on film openings
to please the reward alone; every few thousand tokens all three score completions of held-out prompts. Each score
is in standard deviations of the untrained model's completions, 0 being their mean.

The over-optimisation point of a judge is where it parts from the reward: from there to the next look it gains less than
a quarter of what the reward gains. The figure is that of Gao, Schulman and Hilton (2022, arXiv:2210.10760, figure 1);
both judges' scores have upper bounds, so that they level off rather than fall.
"""

import json
import statistics
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast

import torch
import typer
from matplotlib.figure import Figure
from stable_baselines3.common.callbacks import BaseCallback

from textgym.agents import PPO, TextGenVecEnv, evaluate
from textgym.agents.reference import Reference
from textgym.cli.errors import checked_input
from textgym.prompts import load_prompts
from textgym.rewards import Sentiment
from textgym.rewards.learned import Feedback, RewardModel, RidgeRewardModel, SVMRewardModel, split_feedback
from textgym.task import TextTask

from .machine import describe_machine
from .reward_models import read_domain

RESULTS = Path(__file__).parent / "results"
TITLES = {
    "reward": "the reward: ridge regression",
    "judge": "a judge taught by other ratings",
    "vader": "VADER, a lexicon",
}
COLOURS = {"reward": "#222222", "judge": "#0072B2", "vader": "#D55E00"}
JUDGES = ("judge", "vader")
PARTING_SHARE = 0.25
N_REFERENCE_TEXTS = 512
SETTINGS: dict[str, Any] = {
    "n_steps": 4096,
    "batch_size": 1024,
    "n_epochs": 2,
    "clip_range": 0.3,
    "gae_lambda": 0.95,
    "potential_shaping": True,
}


class Texts(NamedTuple):
    """Prompts and their completions, of one length."""

    prompts: list[str]
    completions: list[str]


class Judges:
    """The reward and its two judges, each scaled by the untrained model's completions.

    Args:
        feedback: Half teaches the reward, half the judge; no text is in both.
        untrained: Completions to scale by.
        seed: Decides the halves.
    """

    def __init__(self, feedback: Feedback, untrained: Texts, seed: int) -> None:
        halves = split_feedback(feedback, 0.5, seed=seed)
        self.learned: dict[str, RewardModel] = {"reward": RidgeRewardModel(), "judge": SVMRewardModel()}
        for model, half in zip(self.learned.values(), halves, strict=True):
            model.fit(half).normalise(*untrained, texts="completions of the untrained model")
        self.lexicon = Sentiment()
        scores = self.lexicon(*untrained)
        self.mean, self.std = statistics.mean(scores), statistics.pstdev(scores)

    def __call__(self, texts: Texts) -> dict[str, float]:
        """Return each one's mean score."""
        scores = {name: statistics.mean(model.score(*texts)) for name, model in self.learned.items()}
        return {**scores, "vader": (statistics.mean(self.lexicon(*texts)) - self.mean) / self.std}


def write(policy: Any, task: TextTask, count: int, reference: Reference | None = None) -> tuple[Texts, float, float]:
    """Return completions of a task's prompts, their mean KL in nats, and their share of distinct pairs of tokens."""
    result = evaluate(policy, task, count, reference=reference)
    texts = [item.episode.text for item in result.episodes]
    return (
        Texts([text.prompt.text for text in texts], [text.text for text in texts]),
        result.kl or 0.0,
        result.distinct_2,
    )


class WatchCallback(BaseCallback):
    """Lets the judges score held-out completions before the first update and every so many tokens.

    Args:
        task: Held-out prompts.
        judges: Who scores.
        every: Tokens between two times.
        count: Completions each time.
    """

    def __init__(self, task: TextTask, judges: Judges, every: int, count: int) -> None:
        super().__init__()
        self.task = task
        self.judges = judges
        self.every = every
        self.count = count
        self.rows: list[dict[str, Any]] = []

    def look(self) -> None:
        """Add a row."""
        model = cast(PPO, self.model)
        texts, kl, distinct = write(model, self.task, self.count, model.find_reference())
        row = {"tokens": self.num_timesteps, "kl": kl, "distinct_2": distinct, **self.judges(texts)}
        self.rows.append({**row, "samples": texts.completions[:4]})
        shown = {name: round(value, 2) for name, value in row.items()}
        print(json.dumps(shown), flush=True)

    def _on_rollout_start(self) -> None:
        if not self.rows or self.num_timesteps - self.rows[-1]["tokens"] >= self.every:
            self.look()

    def _on_training_end(self) -> None:
        self.look()

    def _on_step(self) -> bool:
        return True


def film_prompts(source: str) -> list[str]:
    """Return those of the bundled prompts that open a text on a film."""
    return [text for text, columns in load_prompts(source) if columns["topic"] == "films"]


def parting(rows: Sequence[dict[str, Any]], judge: str) -> dict[str, Any]:
    """Return the last row up to which a judge gains at least `PARTING_SHARE` of what the reward gains."""
    for before, after in pairwise(rows):
        if after[judge] - before[judge] < PARTING_SHARE * (after["reward"] - before["reward"]):
            return before
    return rows[-1]


def draw(runs: dict[int, list[dict[str, Any]]], picture: Path) -> None:
    """Draw each one's score over the square root of KL, as Gao et al. do; a ring marks where a judge parts from it."""
    figure = Figure(figsize=(7.5, 4.8), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    for number, rows in enumerate(runs.values()):
        distances = [max(row["kl"], 0.0) ** 0.5 for row in rows]
        for name, title in TITLES.items():
            axes.plot(
                distances, [row[name] for row in rows], color=COLOURS[name], linewidth=1.8, marker="o", markersize=3,
                alpha=1.0 if number == 0 else 0.45, label=title if number == 0 else None,
            )  # fmt: skip
            if name in JUDGES:
                point = parting(rows, name)
                axes.plot(
                    max(point["kl"], 0.0) ** 0.5, point[name], marker="o", markersize=10, markerfacecolor="none",
                    markeredgecolor=COLOURS[name], markeredgewidth=1.6,
                )  # fmt: skip
    axes.axhline(0, color="#999999", linewidth=0.8)
    axes.set_title("What the reward wins, and what the judges make of it", loc="left", fontsize=12)
    axes.set_xlabel("distance from the untrained model: square root of KL, in nats a completion")
    axes.set_ylabel("score, in standard deviations of its completions")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    figure.savefig(picture, dpi=130)


def main(
    data: Annotated[
        Path, typer.Option(help="Table of ratings: domain, text and ratings, with tabs between them.", exists=True)
    ],
    domain: Annotated[str, typer.Option(help="Which rows.")] = "movie",
    tokens: Annotated[int, typer.Option(help="Tokens of training.")] = 60_000,
    seeds: Annotated[str, typer.Option(help="Seeds, with commas between them.")] = "1,2",
    kl_coef: Annotated[
        float, typer.Option(help="Price of a nat of KL; low, so that there is something to see.")
    ] = 0.01,
    learning_rate: Annotated[float, typer.Option(help="Step size of Adam.")] = 2e-4,
    every: Annotated[int, typer.Option(help="Tokens between two looks.")] = 8_000,
    completions: Annotated[int, typer.Option(help="Held-out completions a look.")] = 200,
    threads: Annotated[int | None, typer.Option(help="Threads of PyTorch; its own choice by default.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for the record and the figure.")] = RESULTS,
) -> None:
    """Train on a learned reward, let the judges watch, and write record and figure."""
    if threads is not None:
        torch.set_num_threads(threads)
    with checked_input():
        feedback = read_domain(data, domain)
    shared: dict[str, Any] = {"max_new_tokens": 48}
    held_out = film_prompts("bundled:held_out")
    runs: dict[int, list[dict[str, Any]]] = {}
    for seed in map(int, seeds.split(",")):
        blank = TextTask(prompts=held_out, reward="ends_sentence", prompt_order="sequential", **shared)
        untrained, _, _ = write(PPO("GPT2Policy", TextGenVecEnv(1, blank), reference=None), blank, N_REFERENCE_TEXTS)
        judges = Judges(feedback, untrained, seed)
        task = TextTask(prompts=film_prompts("bundled"), reward=judges.learned["reward"], **shared)
        watched = TextTask(prompts=held_out, reward=judges.learned["reward"], prompt_order="sequential", **shared)
        callback = WatchCallback(watched, judges, every, completions)
        model = PPO(
            "GPT2Policy", TextGenVecEnv(1, task), learning_rate=learning_rate, kl_coef=kl_coef, seed=seed, **SETTINGS
        )
        model.learn(tokens, callback=callback)
        runs[seed] = callback.rows
    output.mkdir(parents=True, exist_ok=True)
    draw(runs, output / "over_optimisation.png")
    record = {
        "command": "python -m textgym.benchmarks.over_optimisation --data RATINGS.tsv "
        f"--tokens {tokens} --seeds {seeds} --kl-coef {kl_coef} --learning-rate {learning_rate}",
        "machine": describe_machine(),
        "n_ratings": len(feedback),
        "partings": {
            seed: {judge: {key: parting(rows, judge)[key] for key in ("tokens", "kl")} for judge in JUDGES}
            for seed, rows in runs.items()
        },
        "runs": runs,
    }
    (output / "over_optimisation.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
