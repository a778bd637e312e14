"""The command line: textgym and its commands, from train to feedback, each in a module of its own."""

from typing import Annotated

import typer

from .bench import bench
from .errors import show_warnings_plainly
from .feedback import app as feedback
from .generate import generate
from .label import label
from .play import play
from .report import report
from .reward_model import app as reward_model
from .rewards import rewards
from .rlhf import rlhf
from .serve_reward import serve_reward
from .sft import sft
from .tasks import tasks
from .train import train
from .tune import tune

app = typer.Typer(
    name="textgym",
    help="Text generation as a Markov decision process: train a language model on a reward of your own.",
    no_args_is_help=True,
    add_completion=False,
    # A programming error shows its traceback as Python does.
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _say_version(is_asked: bool) -> None:
    if is_asked:
        from textgym import __version__

        typer.echo(f"textgym {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_say_version, is_eager=True),
    ] = False,
) -> None:
    show_warnings_plainly()


app.command()(train)
app.command()(generate)
app.command()(play)
app.command()(rewards)
app.command()(serve_reward)
app.command()(tasks)
app.command()(bench)
app.command()(tune)
app.command()(report)
app.add_typer(reward_model, name="reward-model")
app.command()(label)
app.command()(sft)
app.command()(rlhf)
app.add_typer(feedback, name="feedback")
