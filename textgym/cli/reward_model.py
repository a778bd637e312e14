"""`textgym reward-model`: learn a reward from human feedback, and see how well it agrees with people."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import checked_input, refuse
from .libraries import silence_libraries
from .reward_report import check_picture, report_evaluation, say

if TYPE_CHECKING:
    from textgym.rewards.learned import Counterfactual, Feedback, RewardModel

FEEDBACK = "Feedback"
SCALE = "Scale"

DataOption = Annotated[
    Path,
    typer.Option("--data", help="Ratings or preferences: .jsonl, .csv or .tsv.", rich_help_panel=FEEDBACK),
]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        help="What the file calls a field: completion=text. May be given more than once.",
        rich_help_panel=FEEDBACK,
        metavar="FIELD=NAME",
    ),
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        help="Read the rows that have this value in a column of the file: domain=movie. May be given more than once.",
        rich_help_panel=FEEDBACK,
        metavar="COLUMN=VALUE",
    ),
]
SkipOption = Annotated[
    bool,
    typer.Option(
        "--skip-bad-rows", help="Leave out rows that cannot be used, and say which.", rich_help_panel=FEEDBACK
    ),
]
GapOption = Annotated[
    float,
    typer.Option(
        help="Pairs count in the accuracy whose ratings differ by more than this.", rich_help_panel=FEEDBACK, min=0
    ),
]

app = typer.Typer(
    help="Learn a reward from human feedback, and see how well it agrees with people.", no_args_is_help=True
)


@app.command()
def train(
    data: DataOption,
    kind: Annotated[
        str,
        typer.Option(help="ridge, tree, logistic, svm, linear_preferences or network; see textgym.rewards.learned."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the model.")],
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="An argument of the kind's class, in YAML: epochs=2. May be given more than once.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    ensemble: Annotated[
        int | None, typer.Option(min=2, help="Train so many models, each on a bootstrap sample. [default: one]")
    ] = None,
    pessimism: Annotated[
        float, typer.Option(min=0, help="Times an ensemble's disagreement, which is subtracted from its mean.")
    ] = 0.0,
    column: ColumnOption = None,
    only: OnlyOption = None,
    skip_bad_rows: SkipOption = False,
    rater_weight: Annotated[
        list[str] | None,
        typer.Option(
            help="How much a rater counts: anna=0.5. May be given more than once. [default: 1 each]",
            rich_help_panel=FEEDBACK,
            metavar="RATER=WEIGHT",
        ),
    ] = None,
    held_out: Annotated[
        float, typer.Option(help="Share of the feedback that judges the model.", rich_help_panel=FEEDBACK)
    ] = 0.2,
    augment_by: Annotated[
        list[str] | None,
        typer.Option(
            "--augment",
            help="Learn from each text once more with one thing changed: 'exchange: gender', 'exchange: names' (the "
            "rating kept), 'oppose: sentiment' (mirrored), '{take_out: [Python], change: -1}', put_in, '{cut: 0.5}'. "
            "In YAML; may be given more than once.",
            rich_help_panel=FEEDBACK,
            metavar="CHANGE",
        ),
    ] = None,
    min_gap: GapOption = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Decides what is held out.", rich_help_panel=FEEDBACK)] = 0,
    reference_model: Annotated[
        str,
        typer.Option(
            help="Scores have mean 0 and variance 1 on this model's completions; 'none' takes the feedback's texts.",
            rich_help_panel=SCALE,
        ),
    ] = "bundled",
    reference_prompts: Annotated[
        str, typer.Option(help="Prompts for these completions, as of textgym train.", rich_help_panel=SCALE)
    ] = "bundled",
    reference_completions: Annotated[
        int, typer.Option(min=2, help="How many completions.", rich_help_panel=SCALE)
    ] = 256,
    reference_tokens: Annotated[
        int | None,
        typer.Option(
            min=1, help="Token budget of these completions. [default: the run's, else 64]", rich_help_panel=SCALE
        ),
    ] = None,
) -> None:
    """Train a reward model on human feedback, and judge it on feedback that it was not trained on.

    The folder is a reward wherever one is named: textgym train --reward FOLDER.

    For example:

    ```
    textgym reward-model train --data ratings.csv --kind ridge --output rewards/mine
    textgym reward-model train --data pairs.jsonl --kind network --set objective=preferences --output rewards/mine
    ```
    """
    with checked_input():
        silence_libraries()
        from rich.console import Console

        from textgym.rewards.learned import augment, reliance, split_feedback
        from textgym.rewards.learned.folder import RELIABILITY_FILE, check_is_free

        check_is_free(output)
        counterfactuals = [_counterfactual(text) for text in augment_by or []]
        model = _make_model(kind, _settings(setting or []), ensemble, pessimism)
        feedback = _read(data, column or [], only or [], skip_bad_rows)
        weights = {name: _number(value) for name, value in _pairs(rater_weight or [], "--rater-weight").items()}
        split = split_feedback(feedback.with_rater_weights(weights), held_out, seed)
        training = augment(split.training, counterfactuals)
        if counterfactuals:
            say(f"{len(training) - len(split.training):,} counterfactuals added to {len(split.training):,}")
        for one in counterfactuals:
            if len(augment(split.training, [one])) == len(split.training):
                say(f"{one.name}: changes no text, so that nothing can be learned from it")
        written = _write_reference(reference_model, reference_prompts, reference_completions, reference_tokens)
        model.fit(training, console=Console(stderr=True))
        _normalise(model, written, reference_model)
    evaluation = model.evaluate(split.held_out, min_gap=min_gap)
    model.record["evaluation"] = evaluation.as_dict()
    changes = {one.name: reliance(model, *split.held_out.texts(), one) for one in counterfactuals}
    model.record["reliance"] = changes
    model.save(output)
    report_evaluation(evaluation, f"{kind}, on {_size(split.held_out)} held out", output / RELIABILITY_FILE)
    for name, change in changes.items():
        say(f"{name}: {'changes no held-out text' if change is None else f'moves a score by {change:.2f} on average'}")
    say(f"The reward model is in {output}. Use it by: textgym train --reward {output}")


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="Folder of a reward model.")],
    data: DataOption,
    picture: Annotated[Path | None, typer.Option(help="PNG file for the reliability diagram. [default: none]")] = None,
    column: ColumnOption = None,
    only: OnlyOption = None,
    skip_bad_rows: SkipOption = False,
    min_gap: GapOption = 1.0,
) -> None:
    """Judge a reward model on feedback, best on some that it was not trained on."""
    with checked_input():
        silence_libraries()
        from textgym.rewards.learned import load_reward_model

        if picture is not None:
            check_picture(picture)
        try:
            loaded = load_reward_model(model)
        except ModuleNotFoundError as error:
            refuse(str(error))
        feedback = _read(data, column or [], only or [], skip_bad_rows)
        evaluation = loaded.evaluate(feedback, min_gap=min_gap)
    report_evaluation(evaluation, f"{model} ({loaded.kind}), on {_size(feedback)}", picture)


def _make_model(kind: str, arguments: dict[str, Any], ensemble: int | None, pessimism: float) -> "RewardModel":
    from textgym.rewards.learned import make_ensemble, make_reward_model

    try:
        if ensemble is None:
            if pessimism:
                raise ValueError("--pessimism needs an ensemble; give --ensemble as well.")
            return make_reward_model(kind, **arguments)
        return make_ensemble(kind, ensemble, pessimism, **arguments)
    except ModuleNotFoundError as error:
        refuse(str(error))


def _read(data: Path, columns: list[str], only: list[str], skip_bad_rows: bool) -> "Feedback":
    from textgym.rewards.learned import read_feedback
    from textgym.rewards.learned.reading import summarise_bad_rows

    feedback = read_feedback(
        data,
        columns=_pairs(columns, "--column"),
        only=_pairs(only, "--only"),
        bad_rows="skip" if skip_bad_rows else "refuse",
    )
    line = f"{len(feedback.ratings):,} rated completions, {len(feedback.preferences):,} preferences"
    if feedback.n_repeated:
        line += f"; {feedback.n_repeated:,} rows repeat others"
    say(line)
    if feedback.bad_rows:
        summary, *lines = summarise_bad_rows(feedback.bad_rows)
        say(f"rows skipped: {summary}")
        for line in lines:
            say(f"  {line}")
    return feedback


def _size(feedback: "Feedback") -> str:
    """Return how many ratings and pairs there are, in words."""
    counts = {"ratings": len(feedback.ratings), "preferences": len(feedback.preferences)}
    return " and ".join(f"{count:,} {what}" for what, count in counts.items() if count)


def _write_reference(
    reference: str, prompts: str, n_completions: int, max_new_tokens: int | None
) -> list[tuple[str, str]] | None:
    """Return prompts and completions of the model that reinforcement learning begins with; None where it is "none"."""
    if reference == "none":
        return None
    from textgym.prompts import load_prompts
    from textgym.training.run_folder import RunFolder
    from textgym.training.writing import write_completions

    texts = [text for text, _ in load_prompts(prompts)]
    chosen = [texts[index % len(texts)] for index in range(n_completions)]
    return write_completions(
        reference, chosen, RunFolder(Path(reference)).settings_or_defaults(), max_new_tokens=max_new_tokens
    )


def _normalise(model: "RewardModel", written: list[tuple[str, str]] | None, reference: str) -> None:
    """Scale scores on these completions."""
    if written is None:
        return
    prompts, completions = ([texts[place] for texts in written] for place in (0, 1))
    try:
        model.normalise(prompts, completions, texts=f"{len(written):,} completions of {reference}")
    except ValueError as error:
        raise ValueError(
            f"{error} These are completions of {reference}; name another --reference-model, or none, to scale scores "
            "on the feedback's texts."
        ) from error


def _counterfactual(text: str) -> "Counterfactual":
    import yaml

    from textgym.rewards.learned import read_counterfactual
    from textgym.yaml_values import read_yaml

    try:
        return read_counterfactual(read_yaml(text))
    except yaml.YAMLError as error:
        raise ValueError(f"--augment must be YAML such as 'exchange: gender', got {text!r} ({error}).") from error


def _settings(given: list[str]) -> dict[str, Any]:
    """Read NAME=VALUE, the values in YAML."""
    import yaml

    from textgym.yaml_values import read_yaml

    settings = {}
    for name, text in _pairs(given, "--set").items():
        try:
            settings[name.replace("-", "_")] = read_yaml(text)
        except yaml.YAMLError as error:
            raise ValueError(f"--set {name} must have a value in YAML, got {text!r} ({error}).") from error
    return settings


def _pairs(given: list[str], flag: str) -> dict[str, str]:
    for one in given:
        if "=" not in one:
            raise ValueError(f"{flag} must be NAME=VALUE, got {one!r}.")
    pairs: dict[str, str] = {}
    for name, value in (one.split("=", 1) for one in given):
        if pairs.setdefault(name, value) != value:
            raise ValueError(f"{flag} {name} must be given once, got {pairs[name]!r} and {value!r}.")
    return pairs


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--rater-weight must be RATER=NUMBER, got {text!r}.") from None
