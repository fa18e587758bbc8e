"""`meshlib apply`, `get` and `delete`: documents as they are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meshlib.cli.options import of_a_mesh, open_mesh
from meshlib.cli.reading import kind_named, read_documents, written
from meshlib.control.edit import update
from meshlib.errors import ConfigError, ControlError

if TYPE_CHECKING:
    from meshlib.control.registry import ConfigSource, Document


@click.command()
@click.argument("file", metavar="FILE|-")
@of_a_mesh
def apply(file: str, home: Path | None, control: str | None) -> None:
    """Write the documents in FILE (JSON, TOML or YAML; - is standard input).

    All are checked before the first is written.  One that names the Version it was read with is
    refused if somebody has changed it since.
    """
    documents = read_documents(_text(file), file)
    with open_mesh(home, control) as mesh:
        for document, compared in documents:
            click.echo(f"{document.kind}/{document.name}: {_put(mesh.control, document, compared)}")


@click.command()
@click.argument("kind")
@click.argument("name")
@of_a_mesh
def get(kind: str, name: str, home: Path | None, control: str | None) -> None:
    """Print a document as `apply` reads it: `meshlib get intentions backend`."""
    kind = kind_named(kind)
    with open_mesh(home, control) as mesh:
        document = mesh.control.get(kind, name)
    if document is None:
        raise _missing(kind, name)
    click.echo(written(document))


@click.command()
@click.argument("kind")
@click.argument("name")
@of_a_mesh
def delete(kind: str, name: str, home: Path | None, control: str | None) -> None:
    """Remove a document: `meshlib delete splitter backend`."""
    kind = kind_named(kind)
    with open_mesh(home, control) as mesh:
        gone = mesh.control.delete(kind, name)
    if not gone:
        raise _missing(kind, name)
    click.echo(f"{kind}/{name}: deleted")


def _text(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as exc:
        raise ConfigError("FILE", file, f"a file that can be read ({exc})") from exc


def _put(config: ConfigSource, document: Document, compared: bool) -> str:  # noqa: FBT001
    if not compared:
        before, now = update(config, document.kind, document.name, lambda _: document.body)
        changed = "unchanged" if before is now else "changed"
        return "created" if before is None else changed
    standing = config.get(document.kind, document.name)
    if standing is not None and standing.body == document.body:
        return "unchanged"
    if not config.put(document, cas=True):
        why = f"it is no longer at version {document.version}"
        hint = f"see what changed: meshlib get {document.kind} {document.name}"
        what = f"{document.kind}/{document.name} was not written"
        raise ControlError(what, why=why, hint=hint)
    return "changed" if document.version else "created"


def _missing(kind: str, name: str) -> ControlError:
    return ControlError(f"there is no {kind}/{name}")
