"""`meshlib run`: what it hands on, and what it says of the program."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from meshlib.auto import report
from meshlib.auto.launch.launcher import Seen, name_of, remarks
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
    assert (expected != 0) == (f" ended with exit code {expected}\n" in said)


def test_a_crash_is_told_in_words(home):
    """A signal nobody sent makes a code of 128 and more, and a line."""
    code, _, said = run(PYTHON, "-c", "import os; os.abort()")
    assert 128 + signal.SIGABRT == code
    assert f"meshlib run: {PYTHON} -c" in said
    assert "was ended by SIGABRT (exit code 134)" in said


@pytest.mark.parametrize("where", ["2>/dev/full", "2>&-"])
def test_nobody_reads_what_it_says(home, where):
    """The exit code is the program's all the same, and its output is nothing else's."""
    command = shlex.join([*RUN, "--service", "tried", "--", PYTHON, "-c", "raise SystemExit(7)"])
    done = subprocess.run(f"{command} {where}", shell=True, stdout=subprocess.PIPE, check=False)
    assert (7, b"") == (done.returncode, done.stdout)


def test_a_program_that_is_not_there(home):
    """It is named, with the exit code of a shell."""
    code, _, said = run("no-such-program")
    assert 127 == code
    assert "there is no program 'no-such-program'" in said


@pytest.mark.parametrize(
    ("text", "mode", "expected", "why"),
    [
        ("text", 0o644, 126, "Permission denied; chmod +x makes it executable"),
        ("text", 0o755, 126, "nor a script with a first line like #!/bin/sh"),
        ("#!/no/such/interpreter", 0o755, 127, "the interpreter that its first line names"),
        (None, 0o755, 126, "it is a folder"),
    ],
    ids=["not executable", "no format", "no interpreter", "folder"],
)
def test_a_file_that_is_no_program(home, tmp_path, text, mode, expected, why):
    """It is named as well, with what is wrong with it."""
    file = tmp_path / "file"
    if text is None:
        file.mkdir()
    else:
        file.write_text(text)
        file.chmod(mode)
    code, _, said = run(str(file))
    assert expected == code
    assert f"{str(file)!r} cannot be started: " in said
    assert why in said


def test_a_script_that_becomes_python(home, tmp_path):
    """It is in the mesh once it has, and its code is the launcher's."""
    script = tmp_path / "script"
    program = "import sys; print('wrapt' in sys.modules); sys.exit(4)"
    script.write_text(f'#!/bin/sh\nexec {PYTHON} -c "{program}"\n')
    script.chmod(0o755)
    code, out, said = run(str(script))
    assert (4, "True\n") == (code, out)
    assert f"meshlib run: {name_of([str(script)])} ended with exit code 4\n" == said


def test_an_old_library_is_named(home, tmp_path):
    """It is not wrapped, which is an error in the log and no reason not to run."""
    metadata = tmp_path / "werkzeug-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: werkzeug\nVersion: 1.0\n")
    code, out, said = run(
        PYTHON, "-c", "import werkzeug.serving; print('ran')", PYTHONPATH=str(tmp_path)
    )
    assert (0, "ran\n") == (code, out)
    words = "werkzeug 1.0 cannot be wrapped, and does not serve in the mesh: werkzeug>=2.3,<4"
    assert words in said


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
    assert "is no Python program" not in said


def test_a_program_that_was_to_serve(home):
    """It ended, and never did."""
    code, _, said = run(PYTHON, "-c", "1", run=("--port", "9"))
    assert (0, f"meshlib run: {PYTHON} -c 1 never served anything\n") == (code, said)


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


COUNTS = """
import signal
numbers = signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGWINCH
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
print("ready", flush=True)
while (number := signal.sigwait(numbers)) != signal.SIGWINCH:
    print(signal.Signals(number).name, flush=True)
"""


def one_by_one(process, number):
    """As a service manager signals all processes of a service."""
    for each in of_group(process.pid):
        os.kill(each, number)


def of_group(group):
    """The processes of a group."""
    found = []
    for each in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            if int(each.read_text().rpartition(")")[2].split()[2]) == group:
                found.append(int(each.parent.name))
    return found


@pytest.mark.parametrize(
    "send",
    [lambda process, number: os.killpg(process.pid, number), one_by_one],
    ids=["-PGID", "each"],
)
def test_a_signal_to_all_of_them_reaches_the_program_once(home, send):
    """The second one of a kind would mean "at once"; one to the launcher alone is handed on."""
    with launched("tried", PYTHON, "-c", COUNTS) as program:
        lines = program.process.stdout
        assert "ready\n" == lines.readline()
        for number in signal.SIGTERM, signal.SIGHUP, signal.SIGTERM:
            send(program.process, number)
            assert f"{signal.Signals(number).name}\n" == lines.readline()
            program.process.send_signal(signal.SIGINT)  # handed on when the one before is settled
            assert "SIGINT\n" == lines.readline()
        program.process.send_signal(signal.SIGWINCH)  # handed on after all that came before it
        assert 0 == program.wait()
        assert "" == program.said


def test_a_launcher_that_is_killed_leaves_the_program_alone(home):
    """What hears signals for it ends with it."""
    with launched(
        "tried", PYTHON, "-c", "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    ) as program:
        itself = int(program.process.stdout.readline())
        (canary,) = {*of_group(program.process.pid)} - {program.process.pid, itself}
        watched = os.pidfd_open(canary)
        program.process.kill()
        assert select.select([watched], [], [], 20)[0]
        os.close(watched)
        os.kill(itself, 0)


SHELL = """
import os, signal, sys
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
if not (pid := os.fork()):
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
os.killpg(pid, signal.SIGCONT)
print("went on:", pid, flush=True)
print("code", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
"""One with job control, that makes a stopped program go on."""


def test_ctrl_z_and_ctrl_c_at_a_terminal(home):
    """The terminal speaks to both: the program is stopped, goes on, and hears Ctrl-C once."""
    pid, terminal = pty.fork()
    if not pid:
        program = [*RUN, "--service", "tried", "--", PYTHON, "-c", COUNTS]
        os.execv(PYTHON, [PYTHON, "-c", SHELL, *program])
    modes = termios.tcgetattr(terminal)
    modes[3] |= termios.NOFLSH  # else the key throws away what was written meanwhile
    termios.tcsetattr(terminal, termios.TCSANOW, modes)
    until(terminal, rb"ready")
    os.write(terminal, b"\x1a")
    launcher = int(until(terminal, rb"went on: (\d+)\r")[1])
    os.write(terminal, b"\x03")
    until(terminal, rb"SIGINT\r")
    os.kill(launcher, signal.SIGWINCH)
    said = until(terminal, rb"code 0").string
    os.close(terminal)
    os.waitpid(pid, 0)
    assert b"SIGINT" not in said


def until(terminal, pattern):
    """What is written there, until it matches."""
    heard = b""
    while not (match := re.search(pattern, heard)):
        heard += os.read(terminal, 100)
    return match


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
    for each in CLOSED,:
        try:
            os.close(each)
        except OSError:
            pass
    os.read(0, 1)  # until the test is over
"""


@pytest.mark.parametrize("closed", ["2", "1, 2, *range(3, 100)"], ids=["few", "all"])
def test_processes_that_are_left_behind(home, closed):
    """They are told of, with what to do; also daemons that have closed all they inherited."""
    read, write = os.pipe()
    try:
        done = subprocess.run(
            [*RUN, "--service", "tried", "--", PYTHON, "-c", LEAVES.replace("CLOSED", closed)],
            check=False,
            stdin=read,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(read)
        os.close(write)
    assert 0 == done.returncode
    assert " has left processes behind" in done.stderr


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("--upstream", "backend"), "--upstream: 'backend' is not usable"),
        (("--upstream", "h:1=a", "--upstream", "h:1=b"), "it means a too"),
        (("--edge", "8080"), "--edge: '8080' is not usable"),
    ],
    ids=["no address", "two meanings", "no host"],
)
def test_bad_options(home, given, named):
    """They are named before anything runs, with the exit code of a command line not understood."""
    code, out, said = run(PYTHON, "-c", "print('ran')", run=given)
    assert (2, "") == (code, out)
    assert named in said


def seen(**changes):
    """An unremarkable end, changed."""
    usual = {"program": "p", "code": 0, "said": (Said("begun", 1),), "left": False}
    return Seen(**{**usual, "expected": False, "sent": set(), **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"expected": True}, ["p never served anything"]),
        ({"code": 2}, ["p ended with exit code 2"]),
        ({"code": -9}, ["p was ended by SIGKILL (exit code 137)"]),
        ({"code": -15, "sent": {15}}, []),
    ],
)
def test_remarks(changes, words):
    """Only what somebody would want to know is worth a line."""
    assert words == remarks(seen(**changes))


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("python", "shop.py"), "python shop.py"),
        (("sh", "-c", "exec  a\nb"), "sh -c 'exec a b'"),
        (("p" * 99,), "p" * 57 + "..."),
    ],
)
def test_a_program_is_told_of_by_its_command(command, name):
    """In one line that can be read."""
    assert name == name_of(command)


def test_nothing_is_left_of_a_launcher_that_is_killed(home, tmp_path):
    """Neither in the temporary folder, nor in the way of the program, which goes on."""
    program = "import sys; print('up', flush=True); sys.stdin.read(); print('done', flush=True)"
    with subprocess.Popen(
        [*RUN, "--service", "tried", "--", PYTHON, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as launcher:
        assert "up\n" == launcher.stdout.readline()
        launcher.kill()
        launcher.wait()
        assert [] == [*tmp_path.glob("meshlib-run-*")]
        launcher.stdin.close()
        assert "done\n" == launcher.stdout.read()


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


def test_a_file_of_somebody_else_is_not_written_to(tmp_path):
    """The process id of a launcher that is gone may be another's, with files of its own."""
    with (tmp_path / "precious").open("wb+") as file:
        report.say("begun", environ={report.FILE: f"/proc/{os.getpid()}/fd/{file.fileno()}"})
        assert b"" == file.read()
