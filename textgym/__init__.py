"""Text generation as a Markov decision process, in the interfaces of Gymnasium and Stable-Baselines3."""

from typing import TYPE_CHECKING

from .registration import register_environments

register_environments()

if TYPE_CHECKING:
    __version__: str
else:  # a type checker would take it for saying that every name is here

    def __getattr__(name: str) -> str:
        """Return `__version__` as it is installed, looked up only when it is asked for."""
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib.metadata import version

        return version("textgym")
