"""`meshlib run`."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import NoReturn

import click

from meshlib.cli.options import of_a_mesh
from meshlib.errors import ConfigError, MeshError

_SERVICE = re.compile(r"[A-Za-z0-9_.-]+")


@click.command(
    context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]}
)
@click.option("--service", required=True, envvar="MESHLIB_SERVICE", help="Its name in the mesh.")
@click.option(
    "--upstream",
    "upstreams",
    multiple=True,
    metavar="HOST:PORT=SERVICE",
    help="An address it calls, and the service that is meant.  May be repeated.",
)
@click.option("--edge", metavar="HOST:PORT", help="A second, plaintext listener, for browsers.")
@click.option("--egress", type=click.Choice(["allow", "deny"]), help="Calls to non-services.")
@click.option("--port", type=click.IntRange(1, 65535), help="Where it is expected to serve.")
@of_a_mesh
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
def run(  # noqa: PLR0913 - one for each option
    *,
    service: str,
    upstreams: tuple[str, ...],
    edge: str | None,
    egress: str | None,
    port: int | None,
    home: Path | None,
    control: str | None,
    command: tuple[str, ...],
) -> None:
    """Run a program as a part of the mesh, without a change to it.

    \b
    meshlib run --service shop --upstream 127.0.0.1:5001=stock -- python shop.py
    meshlib run --service stock -- gunicorn stock:app --bind 127.0.0.1:5001
    """  # noqa: D301 - \b is click's
    said = {
        "MESHLIB_SERVICE": _service(service),
        "MESHLIB_UPSTREAM_ADDRESSES": _upstreams(upstreams),
        "MESHLIB_EDGE": _edge(edge),
        "MESHLIB_EGRESS": egress,
        "MESHLIB_HOME": None if home is None else str(home.absolute()),
        "MESHLIB_CONTROL": control,
    }
    environ = {**os.environ, **{name: value for name, value in said.items() if value is not None}}
    from meshlib.auto.launch import launcher

    code = launcher.launch(command, _with_us(environ), port or 0)
    click.get_current_context().exit(code)


def main(arguments: list[str]) -> NoReturn:
    """`meshlib run` alone, without what the other commands are made of."""
    try:
        run.main(arguments, prog_name="meshlib run", standalone_mode=True)
    except MeshError as exc:
        click.echo(f"meshlib: {exc}", err=True)
        sys.exit(click.UsageError.exit_code if isinstance(exc, ConfigError) else 1)
    sys.exit(1)


def _service(name: str) -> str:
    if not _SERVICE.fullmatch(name):
        raise ConfigError("--service", name, "a name of letters, digits, '.', '_' and '-'")
    return name


def _upstreams(upstreams: tuple[str, ...]) -> str | None:
    """Those of the command line and those of the environment, which must not contradict."""
    if not upstreams:
        return None
    from meshlib.auto.names import VARIABLE, parse

    parse(",".join(upstreams), "--upstream")
    text = ",".join((*upstreams, *filter(None, [os.environ.get(VARIABLE)])))
    parse(text)
    return text


def _edge(edge: str | None) -> str | None:
    host, _, port = (edge or "localhost:0").rpartition(":")
    if not (host and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ConfigError("--edge", edge, "HOST:PORT, like 127.0.0.1:8080")
    return edge


def _with_us(environ: dict[str, str]) -> dict[str, str]:
    """With our `sitecustomize` in front.  Raises MeshError without wrapt."""
    from importlib.util import find_spec

    if find_spec("wrapt") is None:
        raise MeshError("the package wrapt is missing", hint="pip install 'meshlib[auto]'")
    from meshlib.auto import launch

    path = [os.path.dirname(launch.__file__), environ.get("PYTHONPATH")]  # noqa: PTH120
    return {**environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}
