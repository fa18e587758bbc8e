"""The last known good on disk."""

from __future__ import annotations

import pytest

from meshlib.control.consul.snapshot import OLDEST, Kept, SnapshotFile, SnapshotRefused
from meshlib.control.registry import Document
from meshlib.errors import ControlError
from meshlib.model import Endpoint, Locality, Snapshot

NOW = 1_800_000_000.0
KEPT = Kept(
    "consul://a:1",
    {"shop": NOW, "front": NOW - 60},
    {"shop": Snapshot("shop", (Endpoint("i", "10.0.0.1", 80, 3, Locality("r", "z"), {"a": "b"}),))},
    {"shop": (Document("traffic-policy", "shop", {"Timeout": "1s"}, 7),)},
    {"front": {"Match": [], "Allow": True}},
)


@pytest.fixture
def file(tmp_path):
    """A file in a folder that is not there yet."""
    return SnapshotFile(tmp_path / "consul", "front")


def test_what_was_written_is_read(file):
    """By another process of the same user as well."""
    file.write(KEPT, NOW)
    assert KEPT == file.read("consul://a:1", NOW + 10)
    assert file.read("consul://a:1", NOW + 10).endpoints["shop"].endpoints[0].meta == {"a": "b"}


def test_there_may_be_none(file):
    """Which is no error."""
    assert file.read("consul://a:1", NOW) is None


def test_another_cluster_is_not_ours(file):
    """Its services may have the same names."""
    file.write(KEPT, NOW)
    assert file.read("consul://b:1", NOW) is None


@pytest.mark.parametrize("at", [NOW + OLDEST + 1, NOW - OLDEST - 1])
def test_what_is_too_old_is_refused(file, at):
    """And what comes from the future."""
    file.write(KEPT, NOW)
    with pytest.raises(SnapshotRefused, match="Unix time"):
        file.read("consul://a:1", at)


def test_what_is_too_old_is_left_out(file):
    """Of two things one knew, the one that nobody has confirmed for a day."""
    file.write(KEPT, NOW)
    found = file.read("consul://a:1", NOW + OLDEST - 1)
    assert {"shop"} == set(found.endpoints)
    assert {} == found.intentions


def test_processes_add_to_what_others_know(file):
    """One that never called the shop does not make the others forget it; what is newer wins."""
    file.write(KEPT, NOW)
    new = Kept("consul://a:1", {"bank": NOW}, {"bank": Snapshot("bank", ())})
    file.write(new, NOW)
    file.write(Kept("consul://a:1", {"shop": NOW + 9}, {"shop": Snapshot("shop", ())}), NOW)
    found = file.read("consul://a:1", NOW + 10)
    assert {"bank": NOW, "front": NOW - 60, "shop": NOW + 9} == found.at
    assert () == found.endpoints["shop"].endpoints
    assert KEPT.documents == found.documents


def test_two_processes_at_one_file(file, tmp_path):
    """Each goes on to add to what the other one has written since."""
    other = SnapshotFile(tmp_path / "consul", "front")
    for number, one in enumerate([file, file, other, other, file]):
        name = f"s{number}"
        one.write(Kept("consul://a:1", {name: NOW}, {name: Snapshot(name, ())}), NOW)
    assert {f"s{number}" for number in range(5)} == set(file.read("consul://a:1", NOW).at)


def test_names_do_not_lead_out_of_the_folder(tmp_path):
    """Whatever a service is called."""
    SnapshotFile(tmp_path / "consul", "../../x").write(KEPT, NOW)
    assert ["consul"] == [each.name for each in tmp_path.iterdir()]


def test_a_link_in_place_of_the_file_is_refused(file, tmp_path):
    """Even one to a good snapshot: somebody put it there."""
    file.write(KEPT, NOW)
    path = tmp_path / "consul" / "front.snapshot"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SnapshotRefused, match="cannot be opened"):
        file.read("consul://a:1", NOW)
    file.write(KEPT, NOW)
    assert KEPT == file.read("consul://a:1", NOW)
    assert not path.is_symlink()


def test_half_a_key_is_refused(file, tmp_path):
    """An empty one would be anybody's."""
    file.write(KEPT, NOW)
    (tmp_path / "consul" / "snapshot.key").write_bytes(b"")
    with pytest.raises(SnapshotRefused, match="0 bytes"):
        file.read("consul://a:1", NOW)


def test_every_changed_byte_is_noticed(file, tmp_path):
    """A snapshot is believed whole, or not at all."""
    file.write(KEPT, NOW)
    path = tmp_path / "consul" / "front.snapshot"
    good = path.read_bytes()
    for place in range(0, len(good), 7):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(SnapshotRefused):
            file.read("consul://a:1", NOW)
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(SnapshotRefused):
        file.read("consul://a:1", NOW)


def test_everything_is_private(file, tmp_path):
    """Folder 0700, files 0600."""
    file.write(KEPT, NOW)
    folder = tmp_path / "consul"
    assert 0o700 == folder.stat().st_mode & 0o777
    assert {0o600} == {each.stat().st_mode & 0o777 for each in folder.iterdir()}


def test_the_state_folder_is_private_too(tmp_path):
    """The embedded control plane refuses one that others can read."""
    SnapshotFile(tmp_path / "home" / "consul", "front").write(KEPT, NOW)
    assert 0o700 == (tmp_path / "home").stat().st_mode & 0o777


def test_a_folder_of_others_is_refused(file, tmp_path):
    """Who can write there could be believed."""
    (tmp_path / "consul").mkdir(mode=0o755)
    with pytest.raises(ControlError, match="chmod 700"):
        file.write(KEPT, NOW)


def test_a_linked_folder_is_refused(tmp_path):
    """It may be anybody's."""
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "consul").symlink_to(tmp_path / "real")
    with pytest.raises(ControlError, match="a link"):
        SnapshotFile(tmp_path / "consul", "front").write(KEPT, NOW)


def test_a_key_that_others_can_read_is_refused(file, tmp_path):
    """It would sign anything."""
    file.write(KEPT, NOW)
    (tmp_path / "consul" / "snapshot.key").chmod(0o644)
    with pytest.raises(ControlError, match="chmod 600"):
        file.read("consul://a:1", NOW)
