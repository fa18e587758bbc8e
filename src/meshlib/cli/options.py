"""The options that say which mesh a command means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from meshlib.mesh import Mesh

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

home_option = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="MESHLIB_HOME",
    help="State folder of the embedded control plane.  [env: MESHLIB_HOME]",
)
control_option = click.option(
    "--control",
    envvar="MESHLIB_CONTROL",
    metavar="local",
    help="Control plane.  [env: MESHLIB_CONTROL]",
)


def of_a_mesh(command: CommandT) -> CommandT:
    """Give a command `--home` and `--control`."""
    return home_option(control_option(command))


def open_mesh(home: Path | None, control: str | None, **more: Any) -> Mesh:
    """The mesh they name, as an onlooker that serves nothing.  Raises ConfigError.

    `more` are settings.
    """
    from meshlib.mesh import Mesh

    return Mesh("meshlib-cli", home=None if home is None else str(home), control=control, **more)
