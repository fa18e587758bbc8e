"""
Print how long files and functions are, and fail where they outgrew the house's measure.

Lines are physical lines, as an editor counts them.  Files without a statement besides their
docstring are left out, so that empty `__init__.py` files do not lower the median.  A file above
`LONGEST_FILE` needs a decision record in docs/decisions/ that names it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "src"
DECISIONS = ROOT / "docs" / "decisions"

MEDIAN_FILE = 110
P90_FILE = 250
LONGEST_FILE = 400
MEDIAN_FUNCTION = 10


def p90(lengths: Sequence[int]) -> float:
    """The 90th percentile."""
    return quantiles(lengths, n=10, method="inclusive")[-1] if len(lengths) > 1 else lengths[0]


def holds_code(tree: ast.Module) -> bool:
    """Whether there is a statement besides the docstring."""
    return any(
        not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in tree.body
    )


def functions(tree: ast.Module) -> Iterator[int]:
    """The length of each function, from `def` to its last line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1


def measure(folder: Path) -> tuple[dict[Path, int], list[int]]:
    """Lines of every file that holds code, and of every function."""
    files: dict[Path, int] = {}
    lengths: list[int] = []
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text, str(path))
        if holds_code(tree):
            files[path] = len(text.splitlines())
            lengths.extend(functions(tree))
    return files, lengths


def excused(path: Path) -> bool:
    """Whether a decision record names the file."""
    name = path.relative_to(SOURCES).as_posix()
    return any(name in record.read_text(encoding="utf-8") for record in DECISIONS.glob("*.md"))


def complaints(files: dict[Path, int], lengths: list[int]) -> Iterator[str]:
    """One sentence for each bound that does not hold."""
    if (found := median(files.values())) > MEDIAN_FILE:
        yield f"the median file has {found:g} lines, more than {MEDIAN_FILE}"
    if (found := p90(list(files.values()))) > P90_FILE:
        yield f"the 90th percentile of files is {found:g} lines, more than {P90_FILE}"
    if (found := median(lengths)) > MEDIAN_FUNCTION:
        yield f"the median function has {found:g} lines, more than {MEDIAN_FUNCTION}"
    for path, length in files.items():
        if length > LONGEST_FILE and not excused(path):
            name = path.relative_to(ROOT).as_posix()
            yield f"{name}:1: {length} lines, more than {LONGEST_FILE}; split it by question"


def report(files: dict[Path, int], lengths: list[int]) -> None:
    """Print the distribution."""
    sizes = list(files.values())
    longest = max(files, key=files.__getitem__)
    name = longest.relative_to(ROOT).as_posix()
    widest = f"max {max(sizes)} ({name})"
    print(f"{len(sizes)} files: median {median(sizes):g}, p90 {p90(sizes):g}, {widest}")
    print(f"{len(lengths)} functions: median {median(lengths):g}, p90 {p90(lengths):g}")


def main() -> int:
    """Measure `src`."""
    files, lengths = measure(SOURCES)
    report(files, lengths)
    found = list(complaints(files, lengths))
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
