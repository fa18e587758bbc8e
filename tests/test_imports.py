"""Every module can be the first one imported, and importing does nothing else."""

from __future__ import annotations

import json
import os
import pkgutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

import meshlib

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

# Each module is imported in a child forked off an interpreter that has imported nothing: as fresh
# as a new interpreter, without paying for its start a hundred times.
PROGRAM = """
import os, sys
for name in sys.stdin.read().split():
    before = set(os.listdir("."))
    child = os.fork()
    if child == 0:
        import traceback
        try:
            __import__(name)
            import threading
            wrong = [f"thread {t.name}" for t in threading.enumerate()[1:]]
            wrong += [f"file {f}" for f in sorted(set(os.listdir(".")) - before)]
        except BaseException:
            wrong = [traceback.format_exc()]
        if wrong:
            import json
            print(json.dumps([name, wrong]), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def modules() -> list[str]:
    """All modules of the package, sorted."""
    found = pkgutil.walk_packages(meshlib.__path__, "meshlib.", onerror=lambda name: None)
    return sorted(module.name for module in found if not module.name.endswith("__main__"))


@pytest.mark.timeout(240)  # one process a module
def test_each_module_imports_alone_and_only_imports(tmp_path: Path) -> None:
    """In a fresh interpreter each module imports, starts no thread and writes no file."""
    here = str(tmp_path)
    places = {"HOME": here, "MESHLIB_HOME": here, "XDG_STATE_HOME": here, "TMPDIR": here}
    sources = os.pathsep.join(str(Path(entry).parent) for entry in meshlib.__path__)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, **places, "PYTHONPATH": sources},
        input="\n".join(modules()),
        capture_output=True,
        text=True,
        check=True,
    )
    wrong = dict(json.loads(line) for line in done.stdout.splitlines())
    assert {} == wrong, "\n".join(f"{name}: {' '.join(why)}" for name, why in wrong.items())


def test_there_is_no_import_cycle() -> None:
    """No module needs, however indirectly, a module that needs it."""
    graph = grimp.build_graph("meshlib", cache_dir=None)
    needs = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    order = list(TopologicalSorter(needs).static_order())
    assert set(graph.modules) == set(order)
