import fcntl
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from meshlib.control.local.folder import locked, private_folder, read_private, write_private
from meshlib.errors import ConfigError, ControlError


def test_makes_a_folder_for_its_owner_only(tmp_path):
    """A new folder, with its parents, has mode 0700."""
    path = tmp_path / "a" / "b"
    assert path == private_folder(path)
    assert 0o700 == path.stat().st_mode & 0o777
    assert path == private_folder(path)


@pytest.mark.parametrize("mode", [0o755, 0o701, 0o710, 0o704, 0o770, 0o777])
def test_refuses_wider_folders(tmp_path, mode):
    """A folder that others can enter is refused with its mode and the command that mends it."""
    tmp_path.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        private_folder(tmp_path)
    assert ("folder", str(tmp_path)) == (caught.value.path, caught.value.value)
    assert f"found {mode:04o}" in caught.value.why
    assert f"chmod 700 {tmp_path}" == caught.value.hint
    assert mode == tmp_path.stat().st_mode & 0o777


def test_refuses_a_symlink_to_a_folder(tmp_path):
    """A symlink is refused, even to a good folder: what it points to can change."""
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(ConfigError, match="found a symlink"):
        private_folder(tmp_path / "link")


def test_refuses_a_dangling_symlink(tmp_path):
    """A symlink to nowhere is refused, not followed."""
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="link"):
        private_folder(tmp_path / "link")
    assert not (tmp_path / "nowhere").exists()


def test_refuses_what_is_no_folder(tmp_path):
    """A file where a folder should be, or above it, is refused."""
    (tmp_path / "file").touch(mode=0o600)
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match=r"expected a folder(?s:.*)MESHLIB_HOME or --home"):
            private_folder(path)


def test_refuses_a_foreign_owner(tmp_path, monkeypatch):
    """A folder or file of somebody else is refused with both owners."""
    write_private(tmp_path / "file", b"x")
    tmp_path.chmod(0o700)
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    says = f"uid {mine + 1}, found uid {mine}"
    with pytest.raises(ConfigError, match=says):
        private_folder(tmp_path)
    with pytest.raises(ConfigError, match=says):
        read_private(tmp_path / "file")


def test_what_is_written_is_read(tmp_path):
    """A file has mode 0600 from birth, whatever the umask, and nothing lies beside it."""
    path = tmp_path / "secret"
    before = os.umask(0)
    try:
        write_private(path, b"one")
        write_private(path, b"two")
    finally:
        os.umask(before)
    assert b"two" == read_private(path)
    assert 0o600 == path.stat().st_mode & 0o777
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_refuses_wider_files(tmp_path, mode):
    """A file that others can read is refused with its mode and the command that mends it."""
    path = tmp_path / "secret"
    write_private(path, b"x")
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"found {mode:04o}") as caught:
        read_private(path)
    assert f"chmod 600 {path}" == caught.value.hint


def test_refuses_a_symlink_to_a_file(tmp_path):
    """A symlink is refused, even to a good file."""
    write_private(tmp_path / "real", b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(ConfigError, match="found a symlink"):
        read_private(tmp_path / "link")


def test_refuses_what_is_no_file(tmp_path):
    """A FIFO is refused at once instead of waited for, and so is a folder."""
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    for name in ("fifo", "folder"):
        with pytest.raises(ConfigError, match="regular file"):
            read_private(tmp_path / name)


def test_a_missing_file_is_not_an_error_of_ours(tmp_path):
    """Whether a file may be missing is the caller's to know."""
    with pytest.raises(FileNotFoundError):
        read_private(tmp_path / "nothing")


def test_a_failed_write_leaves_the_old(tmp_path, monkeypatch):
    """A disk that fails before the rename leaves the old file and no other."""
    path = tmp_path / "secret"
    write_private(path, b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ControlError, match="No space left"):
        write_private(path, b"new")
    assert (b"old", [path]) == (read_private(path), list(tmp_path.iterdir()))


def test_writing_nowhere_is_a_control_error(tmp_path):
    """A folder that is gone is an error that names the file."""
    with pytest.raises(ControlError, match="nowhere"):
        write_private(tmp_path / "nowhere" / "file", b"x")


def test_the_lock_excludes(tmp_path):
    """Only one holder at a time, threads of one process included."""
    inside, most, gate = [], [], threading.Barrier(4)

    def hold(number):
        gate.wait(10)
        for _ in range(50):
            with locked(tmp_path / "lock"):
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(hold, range(4)))
    assert {1} == set(most)


@pytest.mark.parametrize("flaw", ["a symlink", "0644"])
def test_a_flawed_lock_is_refused(tmp_path, flaw):
    """A lock that is a symlink, or that others can hold, is refused like any other file."""
    path = tmp_path / "lock"
    (tmp_path / "real").touch(mode=0o600)
    if flaw == "a symlink":
        path.symlink_to(tmp_path / "real")
    else:
        path.touch(mode=0o644)
    with pytest.raises(ConfigError, match=flaw), locked(path):
        pytest.fail("it was held")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_child_does_not_keep_the_lock(tmp_path):
    """A process forked while the lock was held does not hold it for the rest of its life.

    Fails when the lock ends with the closing of its handle only (hand mutation).
    """
    path = tmp_path / "lock"
    reader, writer = os.pipe()
    with locked(path):
        child = os.fork()
        if not child:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(writer)
    os.close(reader)
    assert (child, 0) == os.waitpid(child, 0)
