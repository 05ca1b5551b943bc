"""Answers whose way is translated (NAT), as those to containers are by their engine's resolver."""

import shutil
import subprocess

import pytest

from integration.child import LONG
from kernel.watch import Watch

from .names_lab import UNASKED, NamesLab, name_server

pytestmark = [pytest.mark.integration, pytest.mark.root]
ENGINE, PORT = "127.0.0.11", 5300
_RULES = f"""
add table ip nat
add chain ip nat out {{ type nat hook output priority -100; }}
add rule ip nat out ip daddr {ENGINE} udp dport 53 dnat to {ENGINE}:{PORT}
"""
_ASK = """
import socket, struct, sys
labels = b"".join(bytes([len(label)]) + label.encode() for label in sys.argv[2].split("."))
said = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + labels + b"\\0" + struct.pack("!2H", 1, 1)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.settimeout(20)
    if sys.argv[1] == "connected":
        one.connect(("127.0.0.11", 53))
        one.send(said)
    else:
        one.sendto(said, ("127.0.0.11", 53))
    assert one.recvfrom(4096)[1] == ("127.0.0.11", 53)
"""


@pytest.fixture(scope="module")
def engine(lab_with_names: NamesLab) -> None:
    """Put a resolver into the namespace as container engines do: behind a port of its own, to which questions are led."""
    if shutil.which("nft") is None:
        pytest.skip("nft is not installed")
    command = lab_with_names.lab.inside(lab_with_names.lab.here, ["nft", "-f", "-"])
    done = subprocess.run(command, input=_RULES, text=True, capture_output=True, timeout=LONG, check=False)
    if done.returncode:
        pytest.skip(f"this kernel translates no addresses: {done.stderr.strip()}")
    zone = {f"{how}.example.": {"A": [UNASKED]} for how in ("connected", "unconnected")}
    name_server(lab_with_names, ENGINE, zone, PORT, namespace=lab_with_names.lab.here)


@pytest.mark.parametrize("how", ["connected", "unconnected"])
def test_an_answer_to_a_question_that_was_led_elsewhere_is_heard(lab_with_names: NamesLab, watched: Watch, engine: None, how: str) -> None:
    pid = lab_with_names.python(_ASK, how, f"{how}.example")
    (asked,) = watched.asked(pid, f"{how}.example")
    assert asked["destination"]["ip"] == ENGINE
    assert asked["dns"]["resolved_ip"] == [UNASKED]
