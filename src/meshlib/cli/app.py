"""The command group, and how errors reach the terminal."""

from __future__ import annotations

from typing import IO, Any

import click
import rich  # noqa: F401 - its absence is told here, not in the middle of a command

from meshlib.cli import federate  # noqa: F401 - commands of the group `ca`
from meshlib.cli.authz import allow, authz, deny
from meshlib.cli.ca import ca
from meshlib.cli.demo import demo
from meshlib.cli.documents import apply, delete, get
from meshlib.cli.run import run
from meshlib.cli.services import services
from meshlib.cli.split import split
from meshlib.cli.version import version
from meshlib.errors import MeshError


class Told(click.ClickException):
    """A MeshError as a sentence on stderr and exit code 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print what, why and hint."""
        click.echo(f"meshlib: {self.format_message()}", file=file, err=file is None)


class Commands(click.Group):
    """A group whose commands may raise MeshError."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; with --debug its errors keep their traceback."""
        try:
            return super().invoke(ctx)
        except MeshError as exc:
            if ctx.params.get("debug"):
                raise
            raise Told(str(exc)) from exc


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(*, debug: bool) -> None:
    """A service mesh inside the Python process."""
    del debug  # read by Commands.invoke


for command in (allow, apply, authz, ca, delete, demo, deny, get, run, services, split, version):
    cli.add_command(command)
