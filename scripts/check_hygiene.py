"""
Look for what must never be committed, and print each find as `file:line: why`.

Everywhere: paths of one machine, hosts of package registries, private keys and tokens.
In tests: mocks, sleeping, and a test that does not say what it expects.
In `src`: files or folders made readable by others.
A line that says `hygiene: <reason>` is left alone.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GENERATED = {"__pycache__", "build", "dist", "node_modules"}
TEXT = {".py", ".md", ".toml", ".txt", ".cfg", ".yml", ".yaml", ".json", ".html", ".css", ".js", ""}
EXCUSE = re.compile(r"hygiene: \w+")

PATTERNS = {
    "a path that exists on one machine only": re.compile(
        r"(?<![\w.~$}])/(?:work|root|opt/(?:pypi|wheels)|tmp/w)(?:/|\b)"
    ),
    "the host of a package registry; pip works as it is configured": re.compile(
        r"pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|deb\.debian\.org|--(?:extra-)?index-url"
    ),
    "a private key": re.compile(r"BEGIN [A-Z ]*PRIVATE KEY-----\n?\s*[A-Za-z0-9+/]{20}"),
    "a token": re.compile(r"\b(?:ghp_|github_pat_|xox[bp]-|AKIA)[A-Za-z0-9_]{16,}"),
}
HOME = re.compile(r"(?<![\w.~$}])/(?:home|Users)/\w")
"""A home folder is machine-specific in code; in documentation it is an example."""

CLOCKS = {"time", "asyncio", "anyio", "trio", "gevent"}
MAKERS = {"chmod", "fchmod", "makedirs", "mkdir", "mkfifo", "mknod", "open", "touch"}
OTHERS = 0o077


def texts() -> Iterator[tuple[Path, str]]:
    """Every text file that may be committed."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(
            name
            for name in folders
            if name not in GENERATED and (not name.startswith(".") or name == ".ci")
        )
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix in TEXT:
                yield path, path.read_text(encoding="utf-8", errors="replace")


def line_of(text: str, position: int) -> int:
    """The line number of a position."""
    return text.count("\n", 0, position) + 1


def in_any_text(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """What is wrong in every kind of file."""
    for why, pattern in PATTERNS.items():
        for match in pattern.finditer(text):
            yield line_of(text, match.start()), why
    if path.suffix != ".md":
        for match in HOME.finditer(text):
            yield line_of(text, match.start()), "a home folder of one machine"


def imported(node: ast.AST) -> set[str]:
    """The dotted names an import statement brings in."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {f"{node.module}.{alias.name}" for alias in node.names}
    return set()


def is_zero(call: ast.Call) -> bool:
    """Whether this is `sleep(0)`, which gives way to others and does not wait."""
    return bool(call.args) and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0


def sleeps(node: ast.AST) -> bool:
    """Whether this waits for the clock."""
    if any(name in imported(node) for name in (f"{clock}.sleep" for clock in CLOCKS)):
        return True
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return False
    owner = node.func.value
    clock = isinstance(owner, ast.Name) and owner.id in CLOCKS
    return clock and node.func.attr == "sleep" and not is_zero(node)


def mocks(node: ast.AST) -> bool:
    """Whether this brings in a mock."""
    names = imported(node)
    return any(name == "mock" or name.startswith(("unittest.mock", "mock.")) for name in names)


def says_nothing(node: ast.AST) -> bool:
    """Whether this is a test without a docstring."""
    function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    return function and node.name.startswith("test_") and not ast.get_docstring(node)


def opens_to_others(node: ast.AST) -> bool:
    """Whether this makes a file or folder that others on the machine may use."""
    if not isinstance(node, ast.Call):
        return False
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    values = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
    modes = [v.value for v in values if isinstance(v, ast.Constant) and type(v.value) is int]
    return name in MAKERS and any(mode & OTHERS for mode in modes if mode > OTHERS)


def in_python(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """What is wrong in Python code."""
    top = path.relative_to(ROOT).parts[0]
    for node in ast.walk(ast.parse(text, str(path))):
        line = getattr(node, "lineno", 0)
        if mocks(node):
            yield line, "a mock; use the fakes of meshlib.testing"
        if top == "tests" and sleeps(node):
            yield line, "a test that sleeps; wait for the event itself"
        if top == "tests" and path.name.startswith("test_") and says_nothing(node):
            yield line, "a test that does not say, in a docstring, what it expects"
        if top == "src" and opens_to_others(node):
            yield line, "a mode that lets others in; folders are 0o700, files 0o600"


def finds() -> Iterator[str]:
    """Everything that is wrong, as `file:line: why`."""
    for path, text in texts():
        lines = text.splitlines()
        found = set(in_any_text(path, text))
        if path.suffix == ".py":
            found |= set(in_python(path, text))
        for line, why in sorted(found):
            if not EXCUSE.search(lines[line - 1]):
                yield f"{path.relative_to(ROOT).as_posix()}:{line}: {why}"


def main() -> int:
    """Look through the whole tree."""
    found = list(finds())
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
