import os
from pathlib import Path

import pytest

from meshlib.trust.pemfile import secret_path


@pytest.fixture(params=["memory", "folder"])
def place(request, monkeypatch, tmp_path):
    """Where the secret goes: memory where the system has it, else a private folder."""
    if request.param == "memory":
        if not hasattr(os, "memfd_create"):
            pytest.skip("this system has no memfd")
    else:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return request.param


@pytest.mark.parametrize("size", [1, 100_000])
def test_reads_back_and_leaves_nothing(place, tmp_path, size):
    """The path reads as the data while the block runs, and nothing is left behind it."""
    data = os.urandom(size)
    with secret_path(data) as path:
        assert data == Path(path).read_bytes()
        assert ("memory" == place) == (not list(tmp_path.iterdir()))
    assert [] == list(tmp_path.iterdir())


def test_gone_after_an_error(place, tmp_path):
    """An error in the block leaves nothing either."""
    with pytest.raises(ZeroDivisionError), secret_path(b"secret"):
        1 / 0  # noqa: B018
    assert [] == list(tmp_path.iterdir())


def test_nobody_else_can_read_the_folder(monkeypatch, tmp_path):
    """Without memfd the file is 0600 in a folder that is 0700."""
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with secret_path(b"secret") as path:
        assert 0o600 == Path(path).stat().st_mode & 0o777
        assert 0o700 == Path(path).parent.stat().st_mode & 0o777
