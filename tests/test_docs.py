"""
The documentation is run.

A file is one program: its ```python blocks run from top to bottom in one interpreter, with a
private MESHLIB_HOME, as a reader would type them.  In ```console blocks each `$ meshlib ...` line
must exit with 0.  A block right after `<!-- snippet: skip: reason -->` is left out.  Decision
records are history and are not run.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(
    r"(?P<skip><!-- snippet: skip:(?P<reason>[^>]*)-->\s*\n)?"
    r"^```(?P<language>python|console)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SOURCES = str(ROOT / "src")
SECONDS = 50
CLI = "import sys; from meshlib.cli import main; sys.argv[0] = 'meshlib'; sys.exit(main())"


@dataclass(frozen=True)
class Block:
    """One fenced block, and where it stands."""

    language: str
    code: str
    line: int
    skipped: bool
    reason: str


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a document that could be run."""
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        reason = (match["reason"] or "").strip()
        yield Block(match["language"], match["code"], line, bool(match["skip"]), reason)


def documents() -> list[Path]:
    """README.md and everything under docs/ except the decision records."""
    pages = (ROOT / "docs").rglob("*.md")
    kept = [page for page in pages if "decisions" not in page.relative_to(ROOT).parts]
    return [ROOT / "README.md", *sorted(kept)]


def python_program(page: Path) -> str:
    """All the blocks of a page, each on the very lines where it stands in the page."""
    lines: list[str] = []
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "python" and not block.skipped:
            lines += [""] * (block.line - 1 - len(lines))
            lines += block.code.splitlines()
    return "\n".join(lines) + "\n"


def commands(page: Path) -> Iterator[tuple[int, list[str]]]:
    """Each `$ meshlib ...` line of a page's console blocks, with its line number."""
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "console" and not block.skipped:
            for offset, line in enumerate(block.code.splitlines()):
                if line.startswith("$ meshlib "):
                    yield block.line + offset, shlex.split(line, comments=True)[2:]


def run(arguments: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    """Run Python where nothing of ours is lying about."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=home,
        env={**os.environ, "MESHLIB_HOME": str(home), "HOME": str(home), "PYTHONPATH": SOURCES},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def title(page: Path) -> str:
    """How a page is called in the test's name."""
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", documents(), ids=title)
def test_python_blocks_run(page: Path, home: Path) -> None:
    """What the page shows works when it is typed in."""
    program = "import sys; exec(compile(sys.argv[2], sys.argv[1], 'exec'), {'__name__': 'page'})"
    done = run(["-c", program, title(page), python_program(page)], home)
    assert 0 == done.returncode, done.stderr


@pytest.mark.parametrize("page", documents(), ids=title)
def test_commands_succeed(page: Path, home: Path) -> None:
    """Each `meshlib` command on the page exits with 0."""
    for line, arguments in commands(page):
        done = run(["-c", CLI, *arguments], home)
        where = f"{title(page)}:{line}: meshlib {shlex.join(arguments)}"
        assert 0 == done.returncode, f"{where}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", documents(), ids=title)
def test_a_skipped_block_says_why(page: Path) -> None:
    """Nobody skips a snippet without a reason."""
    silent = [
        b.line for b in blocks(page.read_text(encoding="utf-8")) if b.skipped and not b.reason
    ]
    assert [] == silent


def test_blocks_are_found_and_skipped() -> None:
    """The reader of the pages sees languages, line numbers and skips."""
    text = "```python\na\n```\n\n<!-- snippet: skip: slow -->\n```python\nb\n```\n```sh\nc\n```\n"
    found = [(block.code, block.line, block.skipped, block.reason) for block in blocks(text)]
    assert [("a\n", 2, False, ""), ("b\n", 7, True, "slow")] == found
