"""`textgym reward-model`: learn a reward from human feedback, and see how well it agrees with people."""

from pathlib import Path
from typing import Annotated

import typer

from textgym.shell_words import as_typed

from .errors import checked_input
from .libraries import silence_libraries
from .reward_kinds import explain_kind, list_kinds
from .reward_model_input import (
    make_model,
    read_change,
    read_data,
    read_rater_weights,
    read_settings,
    tell_what_is_not_used,
)
from .reward_report import check_picture, count_feedback, report_disagreement, report_evaluation, say
from .reward_scale import scale_scores, write_reference

FEEDBACK = "Feedback"
SCALE = "Scale"

DataOption = Annotated[
    Path,
    typer.Option(
        "--data",
        help="A .jsonl, .csv or .tsv file of ratings (completion, and rating or ratings) or preferences (chosen, "
        "rejected), with prompt, rater, comment and margin where there are such.",
        rich_help_panel=FEEDBACK,
    ),
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
        typer.Option(
            help="ridge or tree (ratings), logistic or svm (classes of ratings), linear_preferences (pairs), network "
            "(a language model, for any of these); textgym reward-model kinds says more."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the model.")],
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="An argument of the kind, in YAML: epochs=2, boundaries=[2, 4]. May be given more than once; textgym "
            "reward-model kinds lists them.",
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
        float,
        typer.Option(
            help="Share of the feedback that judges the model and that it does not learn from; 0 for none.",
            rich_help_panel=FEEDBACK,
        ),
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
    textgym reward-model train --data ratings.csv --kind ridge --ensemble 5 --pessimism 0.5 --output rewards/mine
    textgym reward-model train --data pairs.jsonl --kind network --set objective=preferences --output rewards/mine
    ```
    """
    with checked_input():
        silence_libraries()
        from rich.console import Console

        from textgym.rewards.learned import Feedback, Split, augment, reliance, split_feedback
        from textgym.rewards.learned.folder import RELIABILITY_FILE, check_is_free

        check_is_free(output)
        if output.is_dir() and any(output.iterdir()):
            say(f"The model in {output} is replaced once the new one has been trained.")
        counterfactuals = [read_change(text) for text in augment_by or []]
        model = make_model(kind, read_settings(setting or []), ensemble, pessimism)
        feedback = read_data(data, column or [], only or [], skip_bad_rows)
        feedback = feedback.with_rater_weights(read_rater_weights(rater_weight or []))
        tell_what_is_not_used(model, feedback)
        split = split_feedback(feedback, held_out, seed) if held_out else Split(feedback, Feedback())
        training = augment(split.training, counterfactuals)
        if counterfactuals:
            say(f"{len(training) - len(split.training):,} counterfactuals added to {len(split.training):,}")
        for one in counterfactuals:
            if len(augment(split.training, [one])) == len(split.training):
                say(f"{one.name}: changes no text, so that nothing can be learned from it")
        written = write_reference(reference_model, reference_prompts, reference_completions, reference_tokens)
        model.fit(training, console=Console(stderr=True))
        scale_scores(model, written, reference_model)
    evaluation = model.evaluate(split.held_out, min_gap=min_gap) if len(split.held_out) else None
    model.record["evaluation"] = None if evaluation is None else evaluation.as_dict()
    changes = {one.name: reliance(model, *split.held_out.texts(), one) for one in counterfactuals}
    model.record["reliance"] = changes
    with checked_input():  # the folder, which may have become another one meanwhile
        model.save(output)
    if evaluation is None:
        say(
            "Nothing was held out to judge it by; this does: "
            f"textgym reward-model evaluate {as_typed(output)} --data FILE"
        )
    else:
        title = f"{kind if ensemble is None else f'{ensemble} × {kind}'}, on {count_feedback(split.held_out)} held out"
        report_evaluation(evaluation, title, output / RELIABILITY_FILE)
        report_disagreement(model, split.held_out)
    for name, change in changes.items():
        say(f"{name}: {'changes no held-out text' if change is None else f'moves a score by {change:.2f} on average'}")
    say(f"The reward model is in {output}. Use it by: textgym train --reward {as_typed(output)}")


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
        loaded = load_reward_model(model)
        feedback = read_data(data, column or [], only or [], skip_bad_rows)
        evaluation = loaded.evaluate(feedback, min_gap=min_gap)
    report_evaluation(evaluation, f"{model} ({loaded.kind}), on {count_feedback(feedback)}", picture)
    report_disagreement(loaded, feedback)


@app.command()
def kinds(
    kind: Annotated[str | None, typer.Argument(help="One of them, to be explained. [default: list all]")] = None,
) -> None:
    """List the kinds of reward models and their arguments, or explain one."""
    if kind is None:
        list_kinds()
        return
    with checked_input():
        explain_kind(kind)
