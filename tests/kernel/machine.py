"""A machine for another kernel: emulated, with the files of this one, which it can only read.

Its kernel comes as distributions pack it (``boot/vmlinuz-VERSION``, ``lib/modules/VERSION``), from this system or unpacked below
``build/kernels``. QEMU hands over the files of this system (9p); of modules only those are loaded that this needs, and networks.
"""

import lzma
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from .elf import sections

UNPACKED = Path(__file__).parents[2] / "build" / "kernels"
ENDED = "the command ended: "
_WANTED = ("virtio_pci", "9pnet_virtio", "9p", "veth", "tcp_diag", "udp_diag", "crc32c_generic", "sctp")
_MEMORY, _PROCESSORS = "2048", "1"  # of several that are emulated at once, one may stumble over code that another changes
_MOUNTED = (
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("cgroup2", "/sys/fs/cgroup", ""),
    ("bpf", "/sys/fs/bpf", ""),
    ("devtmpfs", "/dev", ""),
    ("devpts", "/dev/pts", ""),
    ("tmpfs", "/dev/shm", ""),
    ("tmpfs", "/run", ""),
    ("tmpfs", "/var/tmp", "-o size=512m"),
)


class Kernel(NamedTuple):
    """A kernel that is there."""

    version: str
    image: Path
    modules: Path


def kernels() -> list[Kernel]:
    """Find kernels with their modules."""
    found: list[Kernel] = []
    for root in (Path("/"), UNPACKED):
        for folder in sorted((*root.glob("lib/modules/*"), *root.glob("usr/lib/modules/*"))):
            images = [image for image in (root / "boot" / f"vmlinuz-{folder.name}", folder / "vmlinuz") if image.exists()]
            if images and folder.name not in {one.version for one in found}:
                found.append(Kernel(folder.name, images[0], folder))
    return found


def run(kernel: Kernel, folder: Path, command: str, seconds: float) -> tuple[int | None, str]:
    """Start a machine, run a shell's command in it as root, and end it; gives its exit code (None: it did not end) and what was printed.

    What the machine writes (below ``/var/tmp`` and ``/run``) goes with it.
    """
    emulator, busybox = shutil.which("qemu-system-x86_64"), shutil.which("busybox")
    if emulator is None:
        pytest.skip("qemu-system-x86 is not installed")
    if busybox is None or b"/ld-" in Path(busybox).read_bytes():  # a dynamic one names its loader
        pytest.skip("busybox-static is not installed")
    begin = _begin(folder, Path(busybox), kernel, command)
    machine = [emulator, "-accel", "tcg", "-cpu", "max", "-smp", _PROCESSORS, "-m", _MEMORY, "-nic", "none", "-nographic"]
    machine += ["-no-reboot", "-kernel", str(kernel.image), "-initrd", str(begin), "-append", "console=ttyS0 quiet rdinit=/init panic=-1"]
    machine += ["-virtfs", "local,path=/,mount_tag=files,security_model=passthrough,readonly=on,multidevs=remap"]
    try:
        done = subprocess.run(machine, check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=seconds)
        said = done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        said = (error.stdout or b"") + (error.stderr or b"")
    text = said.decode("utf-8", "replace")
    codes = [line.partition(ENDED)[2] for line in text.splitlines() if ENDED in line]
    return (int(codes[-1]) if codes else None), text


def _begin(folder: Path, busybox: Path, kernel: Kernel, command: str) -> Path:
    """Make the first files of a machine (initramfs): a shell, modules, and a script that goes over to the files of this machine."""
    files = folder / "begin"
    (files / "modules").mkdir(parents=True)
    shutil.copy(busybox, files / "busybox")
    lines = ["#!/busybox sh", "/busybox mkdir /dev /host", "/busybox mount -t devtmpfs dev /dev"]
    for module in _modules(kernel):
        name = module.name.removesuffix(".xz")
        (files / "modules" / name).write_bytes(_image(module))
        lines.append(f"/busybox insmod /modules/{name}")
    lines.append("/busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose files /host")
    for kind, where, options in _MOUNTED:
        lines += [f"/busybox mkdir -p /host{where}"] if where.startswith("/dev/") else []
        lines.append(f"/busybox mount -t {kind} {options} {kind} /host{where}")
    whole = f"ip link set lo up; {command}; echo; echo '{ENDED}'$?; sync; {busybox} poweroff -f"
    lines.append(f"exec /busybox switch_root /host /bin/sh -c {shlex.quote(whole)}")
    (files / "init").write_text("\n".join(lines) + "\n")
    (files / "init").chmod(0o755)
    names = "\n".join(str(one.relative_to(files)) for one in sorted(files.rglob("*")))
    packed = subprocess.run([busybox, "cpio", "-o", "-H", "newc"], input=names.encode(), cwd=files, check=True, capture_output=True).stdout
    (folder / "begin.cpio").write_bytes(packed)
    return folder / "begin.cpio"


def _modules(kernel: Kernel) -> list[Path]:
    """Give the wanted modules, each after those that it depends on; what isn't there is a part of the kernel itself."""
    there = {path.name.partition(".")[0].replace("-", "_"): path for path in kernel.modules.rglob("*.ko*")}
    ordered: dict[str, Path] = {}

    def add(name: str) -> None:
        if name in there and name not in ordered:
            for other in _needs(there[name]):
                add(other)
            ordered[name] = there[name]

    for name in _WANTED:
        add(name)
    return list(ordered.values())


def _needs(module: Path) -> Iterator[str]:
    facts = next(one.data for one in sections(_image(module)) if one.name == ".modinfo").split(b"\0")
    for fact in facts:
        if fact.startswith(b"depends="):
            yield from (name.replace("-", "_") for name in fact[8:].decode("ascii").split(",") if name)


def _image(module: Path) -> bytes:
    """Read a module, which distributions may compress."""
    if module.suffix not in {".ko", ".xz"}:
        pytest.skip(f"modules are compressed in a way that is not read here: {module.name}")
    return lzma.decompress(module.read_bytes()) if module.suffix == ".xz" else module.read_bytes()
