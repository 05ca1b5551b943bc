"""A file system whose server stops answering when it is told to, as if it were gone: FUSE, spoken without a library.

Run as a program: ``silent_files.py FOLDER FILE``. It mounts on the folder one file, ``tool``, with the content of the other, says
``ready``, and answers until it reads a line. Then it says ``silent`` and answers nobody; it ends when its input does, and whoever waited
gets an error.
"""

import ctypes
import errno
import os
import select
import struct
import sys
from pathlib import Path

_IN, _OUT = struct.Struct("<IIQQIIII"), struct.Struct("<IiQ")  # linux/fuse.h
_ATTR = struct.Struct("<6Q10I")
_DONE = frozenset({18, 25, 29})  # RELEASE, FLUSH, RELEASEDIR: there is nothing to say
_NO_QUESTIONS = frozenset({2, 36, 42})  # FORGET, INTERRUPT, BATCH_FORGET
_ROOT, _FILE = 1, 2
_FOLDER_MODE, _FILE_MODE = 0o040755, 0o100755


def _attributes(node: int, size: int) -> bytes:
    mode, links = (_FOLDER_MODE, 2) if node == _ROOT else (_FILE_MODE, 1)
    return _ATTR.pack(node, size, (size + 511) // 512, 1, 1, 1, 0, 0, 0, mode, links, 0, 0, 0, 4096, 0)


def _answer(code: int, node: int, body: bytes, content: bytes) -> bytes | int:
    """Give the answer to a question, or the number of an error; nothing is valid for longer than the question."""
    match code:
        case 26:  # INIT
            return struct.pack("<4I2H2I2HI7I", 7, 31, 1 << 16, 0, 12, 9, 1 << 16, 1, 16, 0, 0, *[0] * 7)
        case 1:  # LOOKUP
            found = struct.pack("<4Q2I", _FILE, 1, 0, 0, 0, 0) + _attributes(_FILE, len(content))
            return found if body.rstrip(b"\0") == b"tool" else errno.ENOENT
        case 3:  # GETATTR
            return struct.pack("<QII", 0, 0, 0) + _attributes(node, len(content))
        case 14 | 27:  # OPEN, OPENDIR
            return struct.pack("<QII", 1, 0, 0)
        case 15:  # READ
            _, offset, size = struct.unpack_from("<QQI", body)
            return content[offset : offset + size]
    return b"" if code in _DONE else errno.ENOSYS


def _serve(device: int, content: bytes) -> None:
    """Answer until a line comes in."""
    while True:
        ready, _, _ = select.select([device, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        question = os.read(device, 1 << 18)
        _, code, unique, node, *_ = _IN.unpack_from(question)
        if code in _NO_QUESTIONS:
            continue
        answer = _answer(code, node, question[_IN.size :], content)
        error, data = (answer, b"") if isinstance(answer, int) else (0, answer)
        os.write(device, _OUT.pack(_OUT.size + len(data), -error, unique) + data)


def main(folder: str, file: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    if libc.mount(b"silent", folder.encode(), b"fuse", 0, options.encode()):
        sys.exit(f"no FUSE here: {os.strerror(ctypes.get_errno())}")
    print("ready", flush=True)
    _serve(device, Path(file).read_bytes())
    sys.stdin.readline()
    print("silent", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
