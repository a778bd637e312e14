"""`textgym rlhf`: rounds of feedback, reward learning and fine-tuning, which go on where they were stopped."""

import importlib.util
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from textgym.allocator import keep_freed_memory
from textgym.shell_words import as_typed

from .errors import checked_input, refuse, show_cause
from .libraries import silence_libraries
from .own_modules import find_own_modules

if TYPE_CHECKING:
    from textgym.rlhf.loop import Loop

EXTRA = ("jinja2", "krippendorff", "sklearn", "sqlalchemy")
WAITING, FAILED, INTERRUPTED = 3, 1, 130


def rlhf(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.yaml", help="YAML file of settings, see below; or films, to try it out.")
    ],
) -> None:
    """Improve a language model by feedback: people rate, a reward model learns, the policy improves, and again.

    Each round writes completions, has the ones rated on which the reward models disagree most, sees what the present
    reward model foresaw, trains it on all ratings, fine-tunes with it, and evaluates. Each step's output is in the
    output folder before the next step begins: the same command goes on where it was stopped or killed. The folder's
    report.html shows all rounds.

    The annotators are people at the page of `textgym label` (the command then stops, with exit code 3, until they have
    rated; what they have said in chats by then is learned, too), a command, a reward, or simulated people who are
    fitted on real ratings:

    ```
    output: runs/films
    prompts: prompts.txt
    rounds: 3
    feedback: {completions: 200, selection: disagreement}
    annotators:
      people: {per_item: 2}
      # reward: {reward: sentiment, per_item: 3, noise: 0.2}
      # command: {command: python my_raters.py}
      # simulated: {ratings: {file: ratings.csv}, kind: network}
    reward_model: {kind: ridge, ensemble: 4}
    training: {total_tokens: 25000, task: {max_new_tokens: 32}}
    # warm_start: {data: demonstrations.jsonl}
    ```

    To have pairs of completions compared as well (completions: null beside it: only these):

    ```
    feedback: {comparisons: 100}
    reward_model: {kind: linear_preferences, ensemble: 4}
    ```

    `training` takes every setting of textgym train, `warm_start` every option of textgym sft. Simulated people and the
    reward model must not rest on the same: networks on different backbones, and all other kinds rest on words.

    Where a reward model cannot learn from what was said, nothing is lost: answers at the page may be changed and given
    until it can, a command or a reward is asked again once it is mended, and until the first reward model has been
    trained the settings may name another one, or another annotators' reward. Until the first policy is being trained
    they may say otherwise how that is done, and on which eval_prompts it is measured; where it fails, first remove
    round-1/run from the loop's folder.

    Of chats at the page the reward model learns each rated answer as a rating, and each rewritten one as worse than its
    rewriting: a reward model that learns from pairs prefers this, another learns it with the best score. To show
    rewritings to the language model itself, export them as demonstrations (textgym feedback export) for `warm_start`.

    A password in a store's URL is written nowhere; a loop that is taken up from the config.yaml in its folder needs it
    in the environment variable PGPASSWORD, or in ~/.pgpass.
    """
    missing = [package for package in EXTRA if importlib.util.find_spec(package) is None]
    if missing:
        refuse(f"this command needs more packages ({', '.join(missing)}); install: pip install 'textgym[rlhf]'")
    find_own_modules()
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with checked_input():
            from textgym.rlhf.loop import Loop
            from textgym.rlhf.settings import read_loop_settings
            from textgym.training.report import report_console
            from textgym.training.shipped_configs import LOOPS, find_config

            silence_libraries()
            keep_freed_memory()
            loop = Loop(
                read_loop_settings(find_config(config, LOOPS)), report_console(), f"textgym rlhf {as_typed(config)}"
            )
        _run(loop)
    except KeyboardInterrupt:
        sys.stderr.write(f"Stopped. Go on with: textgym rlhf {as_typed(config)}\n")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(loop: "Loop") -> None:
    from textgym.agents.finite_updates import NonFiniteError
    from textgym.reward_protocol import RewardError
    from textgym.rlhf.annotators import AnnotatorsError, WaitingForPeople
    from textgym.training.stopping import TrainingStopped

    try:
        with checked_input():
            loop.run()
    except WaitingForPeople as waiting:
        loop.console.print(str(waiting), soft_wrap=True, highlight=False, markup=False)
        raise typer.Exit(WAITING) from None
    except (AnnotatorsError, NonFiniteError) as error:
        _fail(str(error))
    except RewardError as error:
        show_cause(error)
        _fail(str(error))
    except TrainingStopped as stopped:
        sys.stderr.write(f"Stopped; everything is saved. Go on with: {loop.command}\n")
        raise typer.Exit(128 + stopped.signal) from None


def _fail(message: str) -> None:
    sys.stderr.write(f"Error: {message}\n")
    raise typer.Exit(FAILED)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
