"""Which paths lie on file systems whose server may be gone."""

from pathlib import Path

import pytest

from outwatch.guard.mounts import Mounts


@pytest.mark.parametrize(
    ("path", "hangs"),
    [
        (b"/usr/bin/curl", False),
        (b"/home/alice/a", True),
        (b"/home/alice/local disk/a", False),
        (b"/homework", False),
        (b"/mnt/a", True),
        (b"/etc/tool", True),
        (b"/etc/tools", False),
    ],
)
def test_paths_on_file_systems_of_others_are_known(tmp_path: Path, path: bytes, hangs: bool) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "22 1 0:20 / / rw - ext4 /dev/vda rw\n"
        "23 22 0:21 / /home rw shared:1 master:2 - nfs4 server:/home rw\n"
        "24 23 0:22 / /home/alice/local\\040disk rw - xfs /dev/vdb rw\n"
        "25 22 0:23 / /mnt rw - ext4 /dev/vdc rw\n26 22 0:24 / /mnt rw - fuse.sshfs x rw\nbroken\n"
        "27 22 0:25 /tool /etc/tool rw - 9p host rw\n28 22 0:26\n"
    )
    assert Mounts(str(table)).may_hang(path) is hangs


def test_without_a_table_of_mounts_nothing_is_said_to_hang(tmp_path: Path) -> None:
    assert not Mounts(str(tmp_path / "none")).may_hang(b"/home/a")
