"""Show episodes in a terminal: prompt and completion told apart by colour, the reward and its terms below."""

import io
from collections.abc import Mapping
from typing import Any
from unicodedata import category

from rich.console import Console
from rich.text import Text

from .joining import spaced

RENDER_MODES = ("ansi", "human")
PROMPT_STYLE = "cyan"
COMPLETION_STYLE = "bold green"


class UnknownRenderModeError(ValueError, TypeError):
    """A render mode that no environment here has.

    A TypeError too, because Stable-Baselines3 makes an environment from its id with "rgb_array" first, and without a
    render mode after a TypeError.
    """


# Control characters, separators of lines, halves of surrogate pairs, and what turns the direction of writing.
_OBEYED = ("Cc", "Cs", "Zl", "Zp")
_TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def check_render_mode(render_mode: str | None) -> None:
    """Raise UnknownRenderModeError, which is a ValueError, for a render mode that no environment here has."""
    if render_mode is not None and render_mode not in RENDER_MODES:
        raise UnknownRenderModeError(f"render_mode must be None, 'ansi' or 'human', got {render_mode!r}.")


def render_ansi(prompt: str, completion: str, ending: Mapping[str, Any] | None) -> str:
    """Return an episode as coloured text.

    Args:
        prompt: The prompt.
        completion: What has been generated.
        ending: The `info` of the episode's last step, None while it goes on.

    Returns:
        Text with ANSI colour codes, several lines once the episode has ended.
    """
    buffer = io.StringIO()
    console = Console(file=buffer, force_terminal=True, color_system="standard", legacy_windows=False, _environ={})
    _write(
        console,
        Text.assemble(
            (without_controls(prompt), PROMPT_STYLE), (without_controls(spaced(prompt, completion)), COMPLETION_STYLE)
        ),
    )
    if ending is not None:
        _write(console, "\n" + _verdict(ending))
    return buffer.getvalue()


def without_controls(text: str) -> str:
    """Return text without the characters, but for line breaks, that a terminal would obey, or could not be sent."""
    return "".join(" " if one != "\n" and (one in _TURNS or category(one) in _OBEYED) else one for one in text)


def print_episode(ending: Mapping[str, Any]) -> None:
    """Print a finished episode, given the `info` of its last step."""
    stream = EpisodePrinter()
    stream.begin(ending["prompt"])
    stream.update(ending["completion"], ending)


class EpisodePrinter:
    """Prints an episode while it happens: each token as it comes, and the reward at the end."""

    def __init__(self) -> None:
        self._prompt = ""
        self._shown = ""

    def begin(self, prompt: str) -> None:
        """Print the prompt on a line of its own."""
        self._prompt, self._shown = prompt, ""
        _write(Console(), Text("\n" + without_controls(prompt), PROMPT_STYLE))

    def update(self, completion: str, ending: Mapping[str, Any] | None) -> None:
        """Print what is new in the completion, and how it ended if it did."""
        # Half a character decodes to a replacement character; its other half may come with the next token.
        text = completion if ending is not None else completion.rstrip("\N{REPLACEMENT CHARACTER}")
        text = spaced(self._prompt, text)
        if not text.startswith(self._shown):  # a stop string cut off what had been printed
            _write(Console(), "\n")
            self._shown = ""
        _write(Console(), Text(without_controls(text[len(self._shown) :]), COMPLETION_STYLE))
        self._shown = text
        if ending is not None:
            _write(Console(), "\n" + _verdict(ending) + "\n")


def _verdict(ending: Mapping[str, Any]) -> str:
    terms = {key: value for key, value in ending.items() if key.startswith("reward/")}
    width = max((len(name) for name in terms), default=0)
    lines = [f"score {ending['score']:.3f}, {ending['n_tokens']} tokens, ended by {ending['finish_reason']}"]
    return "\n".join([*lines, *(f"  {name:<{width}}  {value:.3f}" for name, value in terms.items())])


def _write(console: Console, text: Text | str) -> None:
    console.print(text, end="", soft_wrap=True, markup=False, highlight=False, emoji=False)
