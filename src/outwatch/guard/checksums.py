"""Checksums of what lies at a path, for whoever must know whether that is what it is taken for."""

import hashlib
import os
import stat
from collections.abc import Collection
from typing import Any

_PIECE = 1 << 17


def checksums(path: str, algorithms: Collection[str]) -> dict[str, str]:
    """Read a plain file once for several checksums (names of ``hashlib``); none if that can't be done, or it changed meanwhile."""
    flags = os.O_RDONLY
    for name in ("O_CLOEXEC", "O_NONBLOCK", "O_NOFOLLOW", "O_BINARY"):
        flags |= getattr(os, name, 0)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError):
        return {}
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            return {}
        sums: dict[str, Any] = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
        while piece := os.read(descriptor, _PIECE):
            for one in sums.values():
                one.update(piece)
        after = os.fstat(descriptor)
    except OSError:
        return {}
    finally:
        os.close(descriptor)
    same = (before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (after.st_size, after.st_mtime_ns, after.st_ctime_ns)
    return {name: one.hexdigest() for name, one in sums.items()} if same else {}
