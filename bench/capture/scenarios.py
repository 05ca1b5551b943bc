"""Every way of talking, told by outwatch and by others: how many of the connections, with the right process, with how many bytes wrong.

``python -m capture.scenarios`` from ``bench/``, as root. Each tool runs alone while all scenarios are played once; the generators say what
really happened, and the one who answers must have counted the same. Bound, for ``outwatch --sensor ebpf``: everything, with no byte off.
The others have none: ``--sensor sock_diag``, ``--sensor polling``, ``ss`` ten times a second, nethogs, and bpftrace's tcplife (or what
stands for it on a kernel that loads no kprobes). ``--markdown`` prints the table for the documentation.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from capture.judging import Sent, Verdict, judge, judge_processes
from capture.lab import HERE, THERE, Generator, Lab, laboratory
from capture.rivals import NetHogs, SocketStatistics, tcplife
from capture.waking import CALLS, Tool, awaken
from capture.watching import Outwatch
from measuring import Bounds

OURS = "outwatch, ebpf"
_SETTLED = 5.0  # seconds after which every tool has told what it will tell


@dataclass(frozen=True)
class Scenario:
    """A piece of traffic: what it is called and how the generator is called, from where to where."""

    title: str
    kind: str
    to: str = THERE
    elsewhere: bool = False
    """Played in the other namespace, which only a sensor sees that looks at the whole machine."""
    accepted: bool = False
    """Judged is the one who answers."""

    def command(self, lab: Lab) -> list[str]:
        """Spell the generator's command line."""
        program, *arguments = self.kind.split()
        if program.endswith(".c"):
            return [lab.program(program.removesuffix(".c")), self.to, *arguments]
        return [sys.executable, "-S", CALLS, program, self.to]


SCENARIOS = (
    Scenario("TCP upload, 20 MB", "upload"),
    Scenario("TCP download, 20 MB", "download"),
    Scenario("TCP full duplex", "duplex"),
    Scenario("TCP over IPv6", "ipv6"),
    Scenario("TCP on loopback", "call", to="127.0.0.1"),
    Scenario("TCP in another namespace", "call", elsewhere=True),
    Scenario("TCP accepted here", "call", to=HERE, elsewhere=True, accepted=True),
    Scenario("TCP slow drip, 3 s", "drip"),
    Scenario("TCP, 2,000 small connections", "small"),
    Scenario("TCP refused", "refused"),
    Scenario("TCP unanswered", "unanswered"),
    Scenario("TCP reset, by either end", "reset"),
    Scenario("sendfile", "sendfile"),
    Scenario("splice, both ways", "splice"),
    Scenario("io_uring", "uring.c 8443 700000 300000"),
    Scenario("io_uring with SQPOLL", "uring.c 8443 700000 300000 sqpoll"),
    Scenario("MPTCP", "mptcp"),
    Scenario("TCP fast open", "fast-open"),
    Scenario("UDP connected", "udp-connected"),
    Scenario("UDP unconnected, two peers", "udp-unconnected"),
    Scenario("UDP over IPv6", "udp-ipv6"),
    Scenario("UDP, port 443", "udp-443"),
    Scenario("UDP, port 53", "udp-53"),
    Scenario("UDP in fragments", "udp-fragments"),
    Scenario("UDP with GSO", "udp-gso"),
    Scenario("sendmmsg and recvmmsg", "batch.c 9001 20"),
    Scenario("ICMP datagram socket", "icmp-datagram"),
    Scenario("ICMP raw socket", "icmp-raw"),
    Scenario("raw socket, protocol 253", "raw-253"),
    Scenario("AF_PACKET", "packet"),
    Scenario("AF_PACKET past the queue", "packet-bypass"),
    Scenario("socket passed by SCM_RIGHTS", "passed"),
    Scenario("socket inherited by fork", "inherited"),
)


class Play:
    """All scenarios played once, and what the generators said."""

    def __init__(self, lab: Lab, chosen: Sequence[Scenario], there: Generator) -> None:
        self.sent: dict[Scenario, list[Sent]] = {}
        self.lacking: list[Scenario] = []
        with lab.running(lab.here, [lab.program("answer")]) as here:
            answerer = int(here.line()["pid"])
            for scenario in chosen:
                flows = lab.run(lab.there if scenario.elsewhere else lab.here, scenario.command(lab))
                if flows is None:
                    self.lacking.append(scenario)
                else:
                    self.sent[scenario] = [_from_the_other_end(one, answerer) if scenario.accepted else Sent.read(one) for one in flows]
            self._agree(here.end(), there.end())

    def _agree(self, *answered: Mapping[str, int]) -> None:
        """Make sure that both ends counted the same; of datagrams and of TCP, which are answered."""
        for transport, names in (("tcp", ("received", "sent")), ("udp", ("datagram_bytes", "datagram_bytes"))):
            flows = [
                (one.received, one.sent) if scenario.accepted else (one.sent, one.received)
                for scenario, group in self.sent.items()
                for one in group
                if one.transport == transport
            ]
            ours = tuple(map(sum, zip(*flows, strict=True))) if flows else (0, 0)
            theirs = tuple(sum(one[name] for one in answered) for name in names)
            if ours != theirs:
                raise RuntimeError(f"the generators do not agree about {transport}: {ours} and {theirs}")


def _from_the_other_end(told: Mapping[str, Any], pid: int) -> Sent:
    swapped = {"pids": [pid], "own": told["port"], "ip": THERE, "port": told["own"], "sent": told["received"], "received": told["sent"]}
    return Sent.read({**told, **swapped})


def outwatch(sensor: str, lab: Lab) -> Tool:
    return Outwatch(lab.folder / sensor, sensor, lab.inside(lab.here, []))


def statistics(lab: Lab) -> Tool | str:
    return SocketStatistics(lab, lab.folder / "ss") if shutil.which("ss") else "ss is not installed"


def nethogs(lab: Lab) -> Tool | str:
    return NetHogs(lab, lab.folder / "nethogs") if shutil.which("nethogs") else "nethogs is not installed"


def bpftrace(lab: Lab) -> Tool | str:
    return tcplife(lab.folder / "bpftrace")


TOOLS: dict[str, Callable[[Lab], Tool | str]] = {
    OURS: partial(outwatch, "ebpf"),
    "outwatch, sock_diag": partial(outwatch, "sock_diag"),
    "outwatch, polling": partial(outwatch, "polling"),
    "ss": statistics,
    "nethogs": nethogs,
    "bpftrace": bpftrace,
}


def run(name: str, lab: Lab, chosen: Sequence[Scenario]) -> dict[Scenario, Verdict] | None:
    """Play everything while one tool looks, and judge what it told; ``None`` if it is not there."""
    tool = TOOLS[name](lab)
    if isinstance(tool, str):
        print(f"left out: {tool}")
        return None
    try:
        with lab.running(lab.there, [lab.program("answer")]) as there:
            there.line()
            awaken(tool, lab)
            play = Play(lab, chosen, there)
        time.sleep(_SETTLED)
        told = tool.stop()
    finally:
        tool.kill()
    for scenario in play.lacking:
        print(f"left out: {scenario.title}: this kernel lacks it")
    if isinstance(tool, NetHogs):
        return {scenario: judge_processes(sent, told) for scenario, sent in play.sent.items()}
    return {scenario: judge(sent, told, alone=not scenario.accepted) for scenario, sent in play.sent.items()}


def cell(verdict: Verdict) -> str:
    """Put a verdict into a cell: share detected, share with the right process, bytes off; a dash if nothing was detected."""
    if not verdict.detected:
        return "–"
    seen, right = (f"{100 * part / verdict.happened:.4g} %" for part in (verdict.detected, verdict.attributed))
    off = f"{verdict.up:,} / {verdict.down:,}" if verdict.counted else "not told"
    if verdict.counted < verdict.detected and verdict.counted:
        off += f" of {verdict.counted:,}"
    return f"{seen} · {right} · {off}"


def table(found: Mapping[str, Mapping[Scenario, Verdict]], chosen: Sequence[Scenario]) -> Iterator[str]:
    """Spell the table in Markdown."""
    yield "| Scenario | " + " | ".join(found) + " |"
    yield "|---" * (len(found) + 1) + "|"
    for scenario in chosen:
        cells = (cell(verdicts[scenario]) if scenario in verdicts else "–" for verdicts in found.values())
        yield f"| {scenario.title} | " + " | ".join(cells) + " |"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", default="", help="scenarios whose title holds this text")
    options.add_argument("--tool", action="append", choices=TOOLS, help="only these tools (may be given more than once)")
    options.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    wanted = options.parse_args()
    chosen = [one for one in SCENARIOS if wanted.only in one.title]
    found = {}
    with laboratory() as lab:
        for name in wanted.tool or TOOLS:
            verdicts = run(name, lab, chosen)
            if verdicts is not None:
                found[name] = verdicts
    print(f"{datetime.now(UTC):%Y-%m-%d}, {os.uname().sysname} {os.uname().release}")
    if wanted.markdown:
        print("\n".join(table(found, chosen)))
    bounds = Bounds()
    for name, verdicts in found.items():
        show(name, verdicts, bounds if name == OURS else None)
    return bounds.code


def show(name: str, verdicts: Mapping[Scenario, Verdict], bounds: Bounds | None) -> None:
    """Print what a tool told of each scenario, and hold it to the bound if there is one."""
    print(f"{name}: detected, with the right process, bytes off (up / down)")
    for scenario, verdict in verdicts.items():
        if bounds is None:
            print(f"      {scenario.title}: {cell(verdict)}")
        else:
            more = f" · {verdict.surplus} that did not happen" if verdict.surplus else ""
            bounds.holds(f"{scenario.title}: {cell(verdict)}{more}", kept=verdict.perfect)
        for what in verdict.wrong if bounds else ():
            print(f"        {what}")
    if bounds is None:
        whole = sum(verdict.detected == verdict.attributed == verdict.happened for verdict in verdicts.values())
        print(f"      everything seen, with the right process, in {whole} of {len(verdicts)} scenarios")


if __name__ == "__main__":
    sys.exit(main())
