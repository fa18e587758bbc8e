"""`meshlib run`: what it hands on, and what it says of the program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from meshlib.auto import report
from meshlib.auto.launch.launcher import Seen, remarks
from meshlib.auto.report import Said
from meshlib.testing.launch import RUN, launched

PYTHON = sys.executable


def run(*command, **options):
    """Its exit code, what it wrote, and what was said of it."""
    done = subprocess.run(
        [*RUN, "--service", "tried", *options.pop("run", ()), "--", *command],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **options},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("code", "expected"), [("0", 0), ("3", 3), ("'words'", 1)], ids=["0", "3", "words"]
)
def test_exit_codes_are_the_programs(home, code, expected):
    """The launcher ends as the program did."""
    got, _, said = run(PYTHON, "-c", f"import sys; sys.exit({code})")
    assert expected == got
    assert (expected != 0) == (f"it ended with exit code {expected}" in said)


def test_a_crash_is_told_in_words(home):
    """A signal nobody sent makes a code of 128 and more, and a line."""
    code, _, said = run(PYTHON, "-c", "import os; os.abort()")
    assert 128 + signal.SIGABRT == code
    assert "meshlib run: it was ended by SIGABRT (exit code 134)" in said


def test_a_program_that_is_not_there(home):
    """It is named, with the exit code of a shell."""
    code, _, said = run("no-such-program")
    assert 127 == code
    assert "there is no program 'no-such-program'" in said


def test_a_file_that_is_no_program(home, tmp_path):
    """It is named as well."""
    (tmp_path / "text").write_text("text")
    code, _, said = run(str(tmp_path / "text"))
    assert 126 == code
    assert "cannot be started: Permission denied" in said


@pytest.mark.parametrize(
    "command", [("ls", "/"), (PYTHON, "-I", "-c", "1"), (PYTHON, "-S", "-c", "1")]
)
def test_what_was_never_in_the_mesh(home, command):
    """A program that did not load us is told of: it ran as if there was no mesh."""
    code, _, said = run(*command)
    assert 0 == code
    assert "meshlib was never imported" in said


def test_a_python_without_meshlib_does_not_run(home, tmp_path):
    """It would serve in plaintext, and believe it did not."""
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    bare = str(tmp_path / "venv" / "bin" / "python")
    code, out, said = run(bare, "-c", "print('ran')", PYTHONPATH="")
    assert (78, "") == (code, out)
    assert "meshlib is not installed for" in said


def test_the_programs_own_sitecustomize_runs_as_well(home, tmp_path):
    """Ours stands in front of it, not in its place, and leaves the path as it was."""
    (tmp_path / "sitecustomize.py").write_text("print('theirs')")
    program = "import sys; print(any('meshlib/auto/launch' in each for each in sys.path))"
    _, out, _ = run(PYTHON, "-c", program, PYTHONPATH=str(tmp_path))
    assert ["False", "theirs", "theirs"] == sorted(out.split())  # the launcher runs it too


def test_children_are_the_same_service(home):
    """The environment is inherited, as OpenTelemetry's is."""
    child = "import sys; print('wrapt' in sys.modules)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    assert "True\n" == run(PYTHON, "-c", program)[1]


def test_nothing_is_loaded_before_it_is_needed(home):
    """A program that calls nobody has no mesh, and none of what one is made of."""
    heavy = {"cryptography", "msgspec", "sqlite3", "meshlib.mesh"}
    program = f"import sys; print(sorted({heavy} & {{*sys.modules}}))"
    assert "[]\n" == run(PYTHON, "-c", program)[1]


SIGNALLED = """
import signal, sys
def told(number, frame):
    print("heard", signal.Signals(number).name)
    sys.exit(7)
for each in signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT:
    signal.signal(each, told)
print("ready", flush=True)
while True:
    signal.pause()
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGINT"])
def test_signals_are_handed_on(home, name):
    """The program hears what the launcher is sent, and its code is ours."""
    with launched("tried", PYTHON, "-c", SIGNALLED) as program:
        assert "ready\n" == program.process.stdout.readline()
        assert 7 == program.end(getattr(signal, name))
        assert f"heard {name}\n" in program.said


def test_ended_by_the_signal_it_was_sent(home):
    """That was wanted, and needs no words."""
    with launched(
        "tried", PYTHON, "-c", "import signal; print(1, flush=True); signal.pause()"
    ) as program:
        program.process.stdout.readline()
        assert 128 + signal.SIGTERM == program.end()
        assert "" == program.said


LEAVES = """
import os
if not os.fork():
    os.close(2)
    os.read(0, 1)  # until the test is over
"""


def test_processes_that_are_left_behind(home):
    """They are told of, with what to do."""
    read, write = os.pipe()
    try:
        done = subprocess.run(
            [*RUN, "--service", "tried", "--", PYTHON, "-c", LEAVES],
            check=False,
            stdin=read,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(read)
        os.close(write)
    assert 0 == done.returncode
    assert "it has left processes behind" in done.stderr


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("--upstream", "backend"), "MESHLIB_UPSTREAM_ADDRESSES: 'backend' is not usable"),
        (("--upstream", "h:1=a", "--upstream", "h:1=b"), "it means a too"),
        (("--edge", "8080"), "--edge: '8080' is not usable"),
    ],
    ids=["no address", "two meanings", "no host"],
)
def test_bad_options(home, given, named):
    """They are named before anything runs."""
    code, out, said = run(PYTHON, "-c", "print('ran')", run=given)
    assert (1, "") == (code, out)
    assert named in said


def seen(**changes):
    """An unremarkable end, changed."""
    usual = {"program": "p", "code": 0, "said": (Said("begun", 1),), "left": False}
    return Seen(**{**usual, "expected": False, "sent": set(), **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"expected": True}, ["it never served anything"]),
        ({"code": 2}, ["it ended with exit code 2"]),
        ({"code": -9}, ["it was ended by SIGKILL (exit code 137)"]),
        ({"code": -15, "sent": {15}}, []),
    ],
)
def test_remarks(changes, words):
    """Only what somebody would want to know is worth a line."""
    assert words == remarks(seen(**changes))


def test_what_is_reported_is_read(tmp_path):
    """One line an event; half a line is not there yet."""
    file = tmp_path / "said"
    file.touch()
    report.say("serving", "127.0.0.1", 80, {report.FILE: str(file)})
    with file.open("a") as more:
        more.write("begun 1 -")
    assert [Said("serving", os.getpid(), "127.0.0.1", 80)] == report.read(str(file))


def test_nobody_to_report_to(tmp_path):
    """That is no error: the launcher may have been killed."""
    report.say("begun", environ={report.FILE: str(tmp_path / "gone")})
    report.say("begun", environ={})
