"""The tutorial is true: its commands run in their order, as an ordinary user, and what it says they print is what they print."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from openpyxl import load_workbook

from outwatch.views.report.workbook import SHEETS

from .child import LONG, Child
from .conftest import Unprivileged
from .lab import NOBODY, Lab

pytestmark = [pytest.mark.integration, pytest.mark.root]
TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial" / "first-five-minutes.md"
_BLOCK = re.compile(r"(?:<!-- (?P<mark>.+?) -->\n)?```console\n(?P<body>.*?)```", re.DOTALL)
_NOT_RUN, _NOT_COMPARED = "not run by the tests: ", "output not compared: "
_PROGRAM = "/tmp/harmless"
_END = "end of the command"
_ID = re.compile(r"\b[0-9a-f]{8}\b(?=\s*$)", re.MULTILINE)
# What is true once a command in the background has got so far: a line of /proc/net/tcp (port 8000; listening, established).
_LATER = {"python3 -m http.server": ":1F40 00000000:0000 0A", _PROGRAM: "0100007F:1F40 01"}


@dataclass
class Step:
    """A command of the tutorial, and the lines it is said to print."""

    command: str
    output: list[str] = field(default_factory=list)
    compared: bool = True


def _steps(text: str) -> Iterator[Step]:
    for block in _BLOCK.finditer(text):
        mark = block["mark"] or ""
        assert not mark or mark.startswith((_NOT_RUN, _NOT_COMPARED)), mark
        if mark.startswith(_NOT_RUN):
            continue
        steps: list[Step] = []
        for line in block["body"].splitlines():
            if line.startswith("$ "):
                steps.append(Step(line[2:], compared=not mark))
            else:
                steps[-1].output.append(line)
        yield from steps


STEPS = list(_steps(TUTORIAL.read_text("utf-8")))


class Reader:
    """Somebody who follows the tutorial in a terminal of their own, in an empty folder."""

    def __init__(self, lab: Lab, who: Unprivileged, program: str) -> None:
        self.folder = who.home / "work"
        self.folder.mkdir()
        os.chown(self.folder, NOBODY, NOBODY)
        commands = who.home / "bin"
        commands.mkdir()
        (commands / "outwatch").write_text(f'#!/bin/sh\nexec "{who.python}" -m outwatch "$@"\n')
        (commands / "outwatch").chmod(0o755)
        (commands / "python3").symlink_to(who.python)
        env = {**who.env, "PATH": f"{commands}:{who.env['PATH']}", "COLUMNS": "110", "LC_ALL": "C.UTF-8"}
        self._lab, self._home, self._program = lab, who.home, program
        self._ids: dict[str, str] = {}
        group = ["setsid", *lab.inside(lab.here, ["bash", "--noprofile", "--norc"], NOBODY)]
        self.shell = Child(group, env=env, cwd=str(self.folder))

    def follow(self, step: Step) -> str:
        """Type a command and give what it printed, spelled as in the tutorial."""
        command = step.command.replace(_PROGRAM, self._program).replace("--for 10s", "--for 1s")  # nobody waits here
        for told, true in self._ids.items():
            command = command.replace(told, true)
        already = len(self.shell.lines)
        self.shell.tell(f"{{ {command}\n}} 2>&1; echo '{_END}'" if not command.endswith("&") else f"{command}\necho '{_END}'")
        self.shell.line(_END.__eq__)
        for begins, state in _LATER.items():
            if step.command.startswith(begins):
                self._wait_for(state)
        printed = "\n".join(self.shell.lines[already:-1])
        for told, true in zip(_ID.findall("\n".join(step.output)), _ID.findall(printed), strict=False):
            self._ids[told] = true
        return printed.replace(self._program, _PROGRAM).replace(str(self._home / "config"), "/home/alice/.config")

    def _wait_for(self, state: str) -> None:
        look = f"until grep -q '{state}' /proc/net/tcp; do sleep 0.05; done"
        subprocess.run(self._lab.inside(self._lab.here, ["bash", "-c", look]), check=True, timeout=LONG)

    def leave(self) -> None:
        """End the shell and all that it started: they are a group of their own."""
        if self.shell.process.poll() is None:
            os.killpg(self.shell.pid, signal.SIGKILL)
        self.shell.end()


@pytest.fixture
def reader(lab: Lab, unprivileged: Unprivileged) -> Iterator[Reader]:
    missing = [program for program in ("bash", "setsid") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    folder = Path(tempfile.mkdtemp(prefix="tutorial", dir="/tmp"))  # so that tests at the same time don't share the program
    os.chown(folder, NOBODY, NOBODY)
    reader = Reader(lab, unprivileged, str(folder / "harmless"))
    try:
        yield reader
    finally:
        reader.leave()
        shutil.rmtree(folder)


def _pattern(line: str) -> re.Pattern[str]:
    """Make an expression of a line of the tutorial: its words in their order; numbers of four and more digits, ids and `…` may differ."""
    words = [re.escape(word).replace("…", ".*") for word in line.split()]
    words = [re.sub(r"(?<![0-9a-f])(?=[0-9a-f]*\d)[0-9a-f]{8,}", "[0-9a-f]+", word) for word in words]
    words = [re.sub(r"\d{4,}", r"\\d+", word) for word in words]
    words = [r"\S+" if word in {"localhost", "alice"} else word for word in words]  # names that this machine may call otherwise
    return re.compile(r"\s*" + r"\s(?:.*\s)?".join(words) + r"\s*")


def _missing(step: Step, printed: str) -> list[str]:
    """List the lines of the tutorial that were not printed, in their order."""
    rest = iter(printed.splitlines())
    wanted = [line for line in step.output if line.strip(" …")]
    return [line for line in wanted if not any(_pattern(line).fullmatch(true) for true in rest)]


def test_the_tutorial_is_true(reader: Reader) -> None:
    for step in STEPS:
        printed = reader.follow(step)
        if step.compared:
            assert not _missing(step, printed), f"$ {step.command}\n{printed}"
        if step.command.startswith("outwatch report"):
            _check(reader.folder / step.command.split()[-1])
    assert os.listdir(reader.folder) == [], "the tutorial leaves something behind"
    assert not Path(reader._program).exists()


def _check(workbook: Path) -> None:
    """See that the report is one, with the connection that the reader made."""
    book = load_workbook(workbook)
    assert tuple(book.sheetnames) == SHEETS
    processes = {str(cell.value) for cell in book["Connections"]["E"]}
    assert any(name.startswith("harmless") for name in processes)


def test_few_commands_of_the_tutorial_are_left_out() -> None:
    left_out = [block["body"] for block in _BLOCK.finditer(TUTORIAL.read_text("utf-8")) if (block["mark"] or "").startswith(_NOT_RUN)]
    assert sum(body.count("$ ") for body in left_out) <= 3
    assert sum(step.compared for step in STEPS) >= 12


@pytest.mark.parametrize(
    ("told", "printed", "same"),
    [
        ("medium  50  harmless  14283", "medium   50  harmless  9  ", True),
        ("medium  50  harmless  14283", "medium   51  harmless  9", False),
        ("2 connections seen", "3 connections seen", False),
        ("sha256: 25c34e130c60…", "sha256: aaaaaaaabbbbbbbbccccccccdddddddd", True),
        ("not shown: 1 loopback (--all shows them)", "not shown: 1 loopback", False),
    ],
)
def test_a_line_is_compared_by_its_words(told: str, printed: str, *, same: bool) -> None:
    assert (not _missing(Step("", [told]), printed)) is same
