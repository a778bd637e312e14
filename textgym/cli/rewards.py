"""`textgym rewards`: which rewards there are, and what one makes of a completion."""

from typing import Annotated, Any

import typer

from .errors import checked_input, refuse
from .libraries import silence_libraries
from .own_modules import find_own_modules


def rewards(
    reward: Annotated[
        str | None,
        typer.Argument(
            help="One of them, or any reward: module:attribute, a model's folder or hub name, a server's URL, or YAML "
            "in one line. [default: list all names]"
        ),
    ] = None,
    texts: Annotated[
        tuple[str, str] | None,
        typer.Option("--try", metavar="PROMPT COMPLETION", help="Score this completion of this prompt."),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="NAME=TEXT", help="A column of the prompt data; may be given more than once."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Call it with empty, Chinese, very long and other texts, whole and unfinished, and report faults.",
        ),
    ] = False,
) -> None:
    """List the rewards that have a name, or try one.

    A reward is any function f(prompts, completions, **columns) that returns a score for each completion. Those listed
    here come with TextGym, or with other packages through the entry-point group `textgym.rewards`; one of your own
    needs no name, it is given as module:attribute.

    For example:

    ```
    textgym rewards
    textgym rewards repetition
    textgym rewards repetition --try "It was" "so good and so good"
    textgym rewards similarity --column reference="so good" --try "It was" "good"
    textgym rewards '{keywords: {words: [sea, lake]}}' --try "At the" "sea"
    textgym rewards '[{sentiment: , weight: 2}, ends_sentence]' --try "It was" "wonderful."
    textgym rewards my_rewards:few_letters --check
    ```
    """
    find_own_modules()
    if reward is None:
        if texts is not None or columns or check:
            refuse("--try, --column and --check need a reward: textgym rewards NAME --try PROMPT COMPLETION.")
        _list_all()
    elif texts is not None or check:
        with checked_input():
            silence_libraries()
            given = dict(_split_column(column) for column in columns or [])
            if check:
                _check(reward, given)
            if texts is not None:
                _try(reward, *texts, given)
    elif columns:
        refuse("--column needs --try or --check: without them, the reward is only explained.")
    else:
        with checked_input():
            _explain(reward)


def _list_all() -> None:
    from rich.console import Console
    from rich.table import Table

    from textgym.rewards.catalogue import catalogue

    table = Table(box=None, pad_edge=False)
    for header, options in (
        ("name", {"no_wrap": True, "style": "cyan"}),
        ("range", {"no_wrap": True}),
        ("what it is", {}),
    ):
        table.add_column(header, **options)
    table.add_column("source")
    for entry in catalogue():
        table.add_row(entry.name, entry.score_range, entry.description, entry.source)
    console = Console()
    console = console if console.is_terminal else Console(width=160)
    console.print(table)


def _explain(reward: str) -> None:
    """Print how a reward is made, and its documentation."""
    import inspect

    from textgym.reward_protocol import resolve_reward
    from textgym.rewards.catalogue import describe_range
    from textgym.rewards.places import find_place
    from textgym.rewards.registry import find_reward
    from textgym.training.report import describe_reward

    is_plain_data = reward.lstrip()[:1] in ("{", "[")
    found: Any = resolve_reward(reward) if is_plain_data or find_place(reward) is not None else find_reward(reward)
    if isinstance(found, type) or inspect.isroutine(found):
        print(f"{found.__module__}:{found.__qualname__}{inspect.signature(found)}")
    else:
        print(describe_reward(found))
    print(f"range {describe_range(found)}")
    print(f"\n{inspect.getdoc(found) or 'It has no documentation.'}")


def _split_column(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ValueError(f"--column must be NAME=TEXT, got {text!r}.")
    return name, value


def _try(reward: str, prompt: str, completion: str, columns: dict[str, str]) -> None:
    from textgym.models import load_tokenizer
    from textgym.reward_protocol import resolve_reward, score_completions
    from textgym.training.report import describe_reward

    found = resolve_reward(reward)
    ids = load_tokenizer()(completion, add_special_tokens=False)["input_ids"]
    result = score_completions(found, [prompt], [completion], {name: [value] for name, value in columns.items()}, [ids])
    print(f"score {result.scores[0]:.4g} of {describe_reward(found)}")
    for name, values in result.terms.items():
        print(f"  {name:<24} {'does not apply' if values[0] is None else f'{values[0]:.4g}'}")


def _check(reward: str, columns: dict[str, str]) -> None:
    import warnings

    from textgym.rewards.checking import check_reward

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            check_reward(reward, columns)
        finally:  # also beside what is worse than a warning
            for warning in caught:
                print(f"Warning: {warning.message}")
    print("It keeps the contract.")
