"""Why a connection got its verdict, point by point, and what would change it."""

import re
from datetime import UTC
from shlex import quote

from outwatch.engine.verdict import BANDS, combine, without_each
from outwatch.guard.text import printable
from outwatch.model.programs import runs_anything
from outwatch.model.records import Changed, Detection, Fact, Judged, Package, Script, asked_name, stands_for
from outwatch.net.endpoints import endpoint
from outwatch.views import known
from outwatch.views.terminal.words import owner, verdict_words

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}\Z")  # nothing that a shell would act on


def explanation(record: Judged) -> str:
    """Tell, in lines that are safe to show, what a record is about, its reasons and their points, and what would change it."""
    findings = record.outwatch
    lines = [f"{record.id}: {_what(record)}", f"verdict: {verdict_words(record)}" + _score(findings.score)]
    lines += [*_who(record), *_destination(record)]
    reasons = findings.reasons or ()
    if findings.verdict is None and record.network.direction != "ingress":
        lines.append("It was not judged: whoever recorded it did not say what to make of it. outwatch replay judges recordings.")
    elif findings.verdict is None:
        lines.append("Accepted connections are recorded and not judged: somebody else opened this one.")
    elif not reasons:
        lines.append("Nothing speaks against it: no detector found a reason. That is not proof of innocence.")
    else:
        lines += ["", "reasons:"]
        for reason in reasons:
            lines += _reason(reason)
        lines += ["", *_sum(reasons), "", "what would change it:", *_changes(record, reasons)]
    return "\n".join(printable(line, 2000) for line in lines)


def _what(record: Judged) -> str:
    name = asked_name(record)
    far = endpoint(record.destination.ip, record.destination.port)
    near = endpoint(record.source.ip, record.source.port)
    return f"{owner(record)} {near} → {f'{name} ({far})' if name else far} {record.network.transport or 'dns'}"


def _score(score: int | None) -> str:
    return "" if score is None else f" (score {score} of 100; bands begin at {', '.join(str(low) for low, _ in reversed(BANDS[:-1]))})"


def _who(record: Judged) -> list[str]:
    lines = []
    process = record.process
    if process is not None:
        digest = process.hash.sha256 if process.hash else None
        facts = {
            "executable": process.executable,
            "file": record.outwatch.executable,
            "sha256": digest,
            "package": _package(record.outwatch.package),
            "before": _before(record.outwatch.changed),
            "runs": _script(record.outwatch.script),
            "arguments": " ".join(process.args or ()) or None,
            "folder": process.working_directory,
            "user": (record.user.name or record.user.id) if record.user else None,
        }
        lines += [f"  {label}: {value}" for label, value in facts.items() if value]
        parents, parent = [], process.parent
        while parent is not None:
            parents.append(f"{parent.name or parent.executable or '?'} ({parent.pid})")
            parent = parent.parent
        if parents:
            lines.append(f"  started by: {' ← '.join(parents)}")
        lines += _whence(record)
    users = [f"{user.name or user.executable or '?'} ({user.pid})" for user in record.outwatch.shared_with or ()]
    if users:
        lines.append(f"  socket also used by: {', '.join(users)}")
    if stands_for(record) > 1:
        lines.append(f"  connections counted together: {stands_for(record):,}")
    if record.outwatch.encrypted_dns:
        lines.append(f"  asks: {record.outwatch.encrypted_dns}")
    if record.outwatch.no_name:
        lines.append(f"  no name: {record.outwatch.no_name}")
    for name in record.outwatch.names or ():
        known = {True: "confirmed", False: "not confirmed", None: "confirmation unknown"}[name.confirmed]
        lines.append(f"  name: {name.name} (from {name.origin or 'an unnamed source'}, {known})")
    return lines


def _destination(record: Judged) -> list[str]:
    """Say where the destination is, and what services and lists know of it, with the pages to read on."""
    findings, pages = record.outwatch, known.pages(record)
    lines = [f"  where: {where}"] if (where := known.where(record)) else []
    for one in known.opinions(record):
        when = f"; asked {one.checked_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if one.checked_at else ""
        page = f"; {pages[one.provider]}" if one.provider in pages and one.state != "not_checked" else ""
        lines.append(f"  {known.title(one.provider)}: {known.spelled(one)}{when}{page}")
    if record.network.scope == "public" and record.network.direction != "ingress" and not findings.reputation:
        lines.append("  services: none was asked about it; that is no clean bill")
    lines += [f"  listed in {entry}" for entry in known.listing(findings.indicators)]
    return [*lines, *(f"  known as {entry}" for entry in known.listing(findings.warnings))]


def _whence(record: Judged) -> list[str]:
    """Say where in the machine a process belongs, and who logged in for it."""
    findings, container, login = record.outwatch, record.container, record.outwatch.login
    facts = {
        "program": findings.subject,
        "begun by": findings.started_by,
        "unit": " / ".join(unit for unit in (findings.unit, findings.user_unit) if unit),
        "container": " ".join(text for text in (container.runtime, container.name, container.id) if text) if container else None,
        "pod": findings.pod,
        "login": " from ".join(text for text in (login.user or login.id, login.address) if text) if login else None,
    }
    return [f"  {label}: {value}" for label, value in facts.items() if value]


def _package(package: Package | None) -> str | None:
    if package is None or package.name is None:
        return None
    state = {True: "unchanged", False: "CHANGED: this is not the file that the package brought", None: "no checksum to compare"}
    return f"{' '.join(text for text in (package.name, package.version) if text)} ({state[package.matches]})"


def _before(changed: Changed | None) -> str | None:
    if changed is None or changed.sha256 is None:
        return None
    until = f", seen until {changed.last_seen:%Y-%m-%d %H:%M} UTC" if changed.last_seen else ""
    return f"another file, sha256 {changed.sha256}{until}" + (" (an update of the package)" if changed.by_package else "")


def _script(script: Script | None) -> str | None:
    if script is None or script.kind is None:
        return None
    first = f", after {', '.join(script.loads)}" if script.loads else ""
    name = {"code": f"inline code, sha256 {script.name}…", "stdin": "code from standard input"}.get(script.kind)
    return (name or f"{script.kind} {script.name or '?'}") + first


def _reason(reason: Detection) -> list[str]:
    family = f", {reason.family}" if reason.family else ""
    lines = [f"  {reason.points:+g}  {reason.reason}  [{reason.detector}{family}]"]
    if reason.evidence:
        lines.append("       evidence: " + ", ".join(f"{key} {_fact(value)}" for key, value in reason.evidence.items()))
    if reason.techniques:
        lines.append("       ATT&CK: " + ", ".join(reason.techniques))
    if reason.source:
        lines.append(f"       source: {reason.source}")
    return lines


def _fact(value: Fact) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _sum(reasons: tuple[Detection, ...]) -> list[str]:
    """Show the arithmetic: the strongest of each family, noisy-OR, then what an allow entry takes off."""
    strongest: dict[str, float] = {}
    for reason in reasons:
        if reason.points > 0:
            family = reason.family or reason.detector
            strongest[family] = max(strongest.get(family, 0), reason.points)
    lowered = min((reason.points for reason in reasons if reason.points < 0), default=0)
    parts = " · ".join(f"(1 - {points:g}/100)" for points in strongest.values()) or "1"
    sums = f"100 · (1 - {parts})" + (f" - {-lowered:g}" if lowered else "")
    families = ", ".join(f"{family} {points:g}" for family, points in strongest.items()) or "none"
    return [f"strongest of each family: {families}", f"score = {sums} = {combine(reasons).score}"]


def _command(record: Judged, reasons: tuple[Detection, ...]) -> str:
    """Give the command that would allow this: the program where it is what worries, else the destination."""
    program = _program(record) if reasons and reasons[0].family == "process" else None
    if program is not None:
        what = f"--program {quote(program)}"
    else:
        name = asked_name(record)
        what = name if name and _PLAIN_NAME.match(name) else quote(record.destination.ip or "")
    return f"outwatch allow add {what} --comment 'why'"


def _program(record: Judged) -> str | None:
    """Name the program so that an allow entry may: by its path, an interpreter by its script too."""
    if record.process is None or record.outwatch.executable is not None:
        return None
    names = (record.process.executable, record.outwatch.subject)
    return next((name for name in names if name and not runs_anything(name)), None)


def _changes(record: Judged, reasons: tuple[Detection, ...]) -> list[str]:
    lines = []
    for reason, verdict in without_each(reasons):
        what = "no allow entry" if reason.points < 0 else "if that were not so"
        lines.append(f"  {what}: “{reason.reason}” → {verdict.band} ({verdict.score})")
    if not any(reason.points < 0 for reason in reasons) and record.destination.ip:
        lines.append(f"  if you know it: {_command(record, reasons)} (lowers the score)")
    return lines
