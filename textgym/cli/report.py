"""`textgym report`: compare runs by a page and a table."""

from pathlib import Path
from typing import Annotated

import typer

from .errors import checked_input, refuse
from .own_modules import find_own_modules


def report(
    folders: Annotated[list[Path], typer.Argument(help="Folders of runs, or folders that hold such.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="HTML file; the table lies beside it. [default: report.html in FOLDER]"),
    ] = None,
) -> None:
    """Compare runs: learning curves, intervals, completions side by side, and credit token by token.

    The page needs neither a server nor anything besides itself. Beside it lies the table as Markdown.

    For example:

    ```
    textgym report runs/bench
    textgym report runs/first runs/second --output comparison.html
    ```
    """
    try:
        from textgym.benchmarks.learning.page import write_report
        from textgym.benchmarks.learning.records import find_records
    except ModuleNotFoundError as error:
        if error.name not in ("jinja2", "scipy"):
            raise
        refuse(f"textgym report needs {error.name}; install it by: pip install 'textgym[report]'")
    find_own_modules()
    page = output or folders[0] / "report.html"
    with checked_input():
        table = write_report(find_records(folders), page)
    typer.echo(table.read_text(encoding="utf-8"))
    typer.echo(f"Written to {page} and {table}")
