"""`python -m textgym.cli`: the command line where `textgym` is not on the path."""

from . import app

app()
