"""`textgym generate`: write text with a trained model."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from textgym.training.run_folder import RunFolder

from .errors import checked_input
from .libraries import silence_libraries

SAMPLING = "Sampling"


def generate(
    model: Annotated[
        str, typer.Argument(help="Run folder, model folder, hub name, or 'bundled' for the untrained model.")
    ],
    prompt: Annotated[
        list[str], typer.Option("--prompt", "-p", help="Text to go on with; may be given more than once.")
    ],
    n: Annotated[int, typer.Option("--n", "-n", help="Completions of each prompt.", min=1)] = 1,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(
            min=1, help="Token budget of a completion. [default: the run's, else 64]", rich_help_panel=SAMPLING
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="Divides the logits. [default: the run's, else 1]", rich_help_panel=SAMPLING),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Choose among so many tokens. [default: all]", rich_help_panel=SAMPLING)
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            help="Choose among the fewest tokens of this probability. [default: that of training, mostly all]",
            rich_help_panel=SAMPLING,
        ),
    ] = None,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Always take the likeliest token.", rich_help_panel=SAMPLING)
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="The same seed writes the same text.", rich_help_panel=SAMPLING)] = 0,
) -> None:
    """Write text with a trained model.

    A run's model writes by the rules that it was trained by: budget, temperature, stop strings, forbidden tokens,
    and NLPO's top-p.

    For example:

    ```
    textgym generate runs/demo --prompt "The director of this film" --n 3
    textgym generate gpt2 --prompt "Once upon a time" --top-p 0.9 --max-new-tokens 100
    ```
    """
    with checked_input():
        settings = RunFolder(Path(model)).settings_or_defaults()
        silence_libraries()
        from textgym.training.writing import write_completions

        completions = write_completions(
            model,
            prompt,
            settings,
            n=n,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            greedy=greedy,
            seed=seed,
        )
    _print(completions)


def _print(completions: list[tuple[str, str]]) -> None:
    """Print texts with a blank line between them: in colour in a terminal, as they are in a file or pipe."""
    from rich.console import Console
    from rich.text import Text

    from textgym.rendering import COMPLETION_STYLE, PROMPT_STYLE, without_controls

    console = Console()
    if not console.is_terminal:
        sys.stdout.write("\n\n".join(text + completion for text, completion in completions) + "\n")
        return
    for index, (text, completion) in enumerate(completions):
        line = Text.assemble((without_controls(text), PROMPT_STYLE), (without_controls(completion), COMPLETION_STYLE))
        console.print("\n" if index else "", line, sep="", soft_wrap=True)
