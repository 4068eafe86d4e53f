"""How both commands end: one clear line for the user, never a traceback for bad input."""

import io
import sys

import typer
from rich.console import Console
from rich.markup import escape

from deploy.addresses import without_secrets
from deploy.errors import InspectionError

console = Console()
complaints = Console(stderr=True)


def say(text: str, style: str | None = None) -> None:
    """Print a line as it is: a path with brackets is no markup, and nothing is wrapped."""
    console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def say_error(text: str) -> None:
    """Tell the user what went wrong, on stderr; without a password, whoever wrote the text."""
    complaints.print(f"[bold red]error:[/] {escape(without_secrets(text))}", highlight=False, soft_wrap=True)


def run(app: typer.Typer) -> None:
    """Run a command line; exit 1 with one message on an InspectionError or a file that cannot be used."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a name that the terminal cannot show is no reason to stop
    try:
        app()
    except InspectionError as error:
        say_error(str(error))
        sys.exit(1)
    except OSError as error:
        say_error(
            f"{error.filename or 'a file'}: {error.strerror or error}; check the path, its permissions and the space on its disk"
        )
        sys.exit(1)
