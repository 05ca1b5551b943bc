"""The composition root: the only file that knows all parts. It builds them from the configuration and runs a watch."""

import asyncio
import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import structs

from outwatch.engine import registry
from outwatch.engine.config import Config
from outwatch.engine.drive import Drive
from outwatch.engine.first_look import first_look
from outwatch.engine.health import Health
from outwatch.engine.host import this_host
from outwatch.engine.pipeline import Pipeline
from outwatch.engine.registry import Room
from outwatch.engine.request import Companion, Outcome, Request
from outwatch.engine.signals import ending_signals
from outwatch.engine.verdict import Judge
from outwatch.errors import ConfigError, OutwatchError, SensorUnavailable
from outwatch.guard.files import new_file, private_folder, write_atomic
from outwatch.guard.rights import network_namespace
from outwatch.guard.sockets import Listening, is_there, shared_folder
from outwatch.guard.text import printable
from outwatch.guard.unprivileged import Account, give_up
from outwatch.intel.marking import Marking
from outwatch.intel.stored import Shelf
from outwatch.lookups.reverse_names.asking import believed_servers
from outwatch.model import wire
from outwatch.model.interfaces import (
    Detector,
    Enricher,
    Lookup,
    NoOwners,
    NoProcesses,
    PackageOwners,
    Part,
    ProcessTable,
    Sensor,
    Sink,
)
from outwatch.model.records import Judged, Record
from outwatch.model.reputation import Indicator
from outwatch.net.addresses import Scopes, parse_network, private_networks
from outwatch.reputation.desk import Mode
from outwatch.reputation.service import Offered, Services, usable
from outwatch.sensors.given import Given, standing_for
from outwatch.sinks.handover import Handover
from outwatch.sinks.lines import Lines
from outwatch.sinks.picture import Picture

SENSORS = ("ebpf", "remote", "tracefs", "sock_diag", "polling")
"""The sensors that ``--sensor`` names, the best first; those of them that exist are tried in this order."""

CAPTURING = ("ebpf", "sock_diag")
"""Those of them that ``outwatch capture`` can use."""

ROOMS: tuple[Room, ...] = ("sensors", "enrichers", "lookups", "reputation", "detectors", "sinks")
LAST_SCAN = "last_scan.jsonl"
_MOST_SAVED = 5_000


class App:
    """Parts built from one configuration; ``health`` collects what they could not do."""

    def __init__(self, config: Config, health: Health) -> None:
        """Take the configuration in force, and where to tell problems."""
        self.config = config
        self.health = health
        self.host = this_host()
        for path in config.unreadable:
            health.problem(f"{path}: no right to read it; what it sets is not in force")

    @property
    def boot(self) -> str:
        """The id of this start of the machine; empty if the system has none."""
        return (self.host.boot.id if self.host.boot else None) or ""

    def every_part(self, room: Room) -> list[tuple[Part, Any]]:
        """Give all parts of a room with their settings; ``ConfigError`` for tables that fit none."""
        found = registry.parts(room, lambda name, error: self.health.part_failed(f"{room} part {name}", error))
        self.config.check_names(room, [part.name for part in found])
        return [(part, self.config.of(room, part)) for part in found]

    def parts(self, room: Room) -> list[tuple[Part, Any]]:
        """Give the parts of a room that are switched on, with their settings."""
        return [(part, table) for part, table in self.every_part(room) if table.enabled]

    def check(self) -> None:
        """Build everything that only needs the configuration, so that each mistake in it is found."""
        for room in ROOMS:
            self.every_part(room)
        self.offered()
        self.detectors()

    def offered(self) -> list[Offered]:
        """Build all that know a reputation service, whether it is asked or not; ``ConfigError`` for a base URL that can't be used."""
        found: list[Offered] = []
        for part, table in self.every_part("reputation"):
            if table.base_url is not None and not usable(table.base_url):
                key = f"reputation.{part.name}.base_url"
                raise ConfigError(self.config.origin(key), key, "write it like https://example.org/path, without user, password and query")
            found.append((registry.build(part, structs.replace(table, api_key=None, api_key_file=None), {}), table))
        return found

    def services(self, mode: Mode = "auto", *, keeps: bool = False) -> Services:
        """Make ready to ask the reputation services that are to be asked."""
        return Services(self.offered(), self.config.state_dir, self.health, self._scopes(Request()), mode=mode, keeps=keeps)

    def named(self, indicators: Iterable[Indicator]) -> list[Judged]:
        """Give a record for each thing that is to be looked up."""
        scopes = self._scopes(Request())
        return [standing_for(indicator, scopes) for indicator in indicators]

    def detectors(self, only: frozenset[str] | None = None) -> list[Detector]:
        """Build the detectors; their rules that can't be used are told."""
        parts = [one for one in self.parts("detectors") if only is None or one[0].name in only]
        quiet = self.config.settings.detectors.get("domain_pattern", {}).get("ignore", ())  # one list of silenced names for all
        offers: dict[str, object] = {"place": self.config.rule_error, "quiet": quiet}
        known = [(part.name, registry.build(part, table, offers)) for part, table in parts]
        for _, detector in known:
            for problem in detector.problems:
                self.health.problem(str(problem))
        names = registry.names("detectors")
        for name in self.config.settings.verdict.weights:
            if name not in {*names, *(other for other, _ in known)}:
                key = f"verdict.weights.{name}"
                raise ConfigError(self.config.origin(key), key, "no such detector")
        return [detector for _, detector in known]

    def run(self, request: Request) -> Outcome:
        """Watch as asked until it ends, and give what was seen. ``OutwatchError`` when it can't begin."""
        return asyncio.run(self._run(request))

    async def _run(self, request: Request) -> Outcome:
        offers = self._offers(request)
        enrichers = self._enrichers(request, offers)
        lookups = self._lookups(request, offers) if request.lookups == "auto" and not request.records else []
        picture = Picture(health=self.health, most_ended=request.most_ended)
        async with self._asked(request) as services:
            lookups += services.desks
            pipeline = Pipeline(
                enrichers=[*enrichers, *lookups, self._marking()],
                detectors=self.detectors(request.only),
                judge=Judge(self.config.settings.verdict.weights),
                health=self.health,
            )
            sensor = Given(request.records) if request.records else self._sensor(request.sensor if request.live else "replay", offers)
            drive = Drive(
                sensor=sensor,
                pipeline=pipeline,
                sinks=[*([picture] if request.live or request.stream is None else []), *self._sinks(request)],
                lookups=lookups,
                health=self.health,
                host=self.host,
            )
            outcome = await _conduct(drive, picture, request)
            outcome.unanswered, outcome.resumes = services.unanswered()
            outcome.unasked = services.unasked()
        if request.live:
            self._save(outcome.records)
        return outcome

    def _offers(self, request: Request) -> dict[str, object]:
        """Give what parts may ask for by the names of their keyword arguments."""
        return {
            "health": self.health,
            "host": self.host,
            "boot": self.boot,
            "state_dir": self.config.state_dir,
            "place": self.config.rule_error,
            "scopes": self._scopes(request),
            "paths": request.paths,
            "form": request.form,
            "broken": self.health.broken_line,
            "asks": request.dns,
            "this_machine": request.live,
            "once": request.once,
            "names": self.config.settings.capture.names,
            "resolvers": believed_servers if request.live else tuple,
            "namespace": network_namespace() if request.live else None,
            "overrun": request.overrun,
        }

    def _asked(self, request: Request) -> Services:
        """Make ready the services that a request asks; a recording that is only judged by what it holds has no use for any."""
        if request.paths and request.lookups == "off":
            return Services([], self.config.state_dir, self.health, Scopes())
        services = self.services(request.lookups, keeps=bool(request.records))
        if request.lookups != "off":
            services.tell()
        return services

    def capture(self, path: Path, whom: Account, group: int | None, sensor: str) -> None:
        """Give what a sensor sees to readers of the socket at ``path``, without judging it, until a signal ends it.

        What needs root is done first: the socket's folder is made, and the sensor attached. Then all rights are given up but those that
        capturing needs, before any other thread exists.
        """
        group = shared_folder(path.parent, whom.user, whom.group, group)
        offers: dict[str, object] = {"health": self.health, "host": self.host, "boot": self.boot, "processes": NoProcesses()}
        offers["names"] = self.config.settings.capture.names
        enrichers = [registry.build(*one, offers) for one in self.parts("enrichers") if one[0].name == "process"]
        offers["processes"] = next(iter(enrichers), offers["processes"])
        lookups = [registry.build(*one, offers) for one in self.parts("lookups") if one[0].name == "hashing"]
        attached = self._sensor(sensor, offers, CAPTURING)
        give_up(whom)
        handover = Handover(Listening(path), group=group, user=whom.user, health=self.health)
        pipeline = Pipeline(enrichers=[*enrichers, *lookups], detectors=[], judge=Judge(), health=self.health)
        drive = Drive(
            sensor=first_look(attached, handover.first_look),
            pipeline=pipeline,
            sinks=[handover],
            lookups=lookups,
            health=self.health,
            host=self.host,
        )
        self.health.tell(f"{attached.name} captures as {whom.name}; {path} can be read by the group {group}")
        asyncio.run(_serve(drive, handover))

    def find(self, identity: str, paths: Sequence[str] = ()) -> Judged:
        """Give the latest revision of the one record whose id is, or begins with, ``identity``.

        Recordings at ``paths`` are searched, or the last scan.
        """
        if not paths:
            last = self.config.state_dir / LAST_SCAN
            if not last.exists():
                raise OutwatchError(f"{last}: there is no scan yet; run outwatch scan, or name a recording with --from")
            paths = (str(last),)
        sensor = self._sensor("replay", {"paths": paths, "broken": self.health.broken_line})
        found: dict[str, Judged] = {}
        for batch in sensor.observe(threading.Event()):
            for record in batch:
                if isinstance(record, Judged) and record.id.startswith(identity):
                    known = found.get(record.id)
                    if known is None or known.revision <= record.revision:
                        found[record.id] = record
        if identity in found or len(found) == 1:
            return found.get(identity) or next(iter(found.values()))
        if not found:
            raise OutwatchError(f"no record with the id {printable(identity, 60)} in {', '.join(paths)}")
        some = ", ".join(printable(one, 40) for one in list(found)[:5])
        raise OutwatchError(f"{printable(identity, 60)} begins the ids of {len(found)} records: {some}; write more of it")

    def keep(self, outcome: Outcome) -> Path:
        """Write all records of a watch to a file in the state folder, which ``--from`` can read, and give its path."""
        path = private_folder(self.config.state_dir) / f"unreported_{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.jsonl"
        with new_file(path, replaces=False) as file:
            file.writelines(wire.encode(record) + b"\n" for record in [*outcome.records, outcome.summary])
        return path

    def _active(self, room: Room, request: Request) -> list[tuple[Part, Any]]:
        """Give the parts of a room that work for a request: recordings have no use for those that look at this machine."""
        wanted = [one for one in self.every_part(room) if one[1].enabled or one[0].name in request.switched_on]
        if request.only is not None:
            wanted = [one for one in wanted if one[0].name in request.only]
        return [one for one in wanted if request.live or not one[0].live_only]

    def _enrichers(self, request: Request, offers: dict[str, object]) -> list[Enricher]:
        """Build the enrichers, first the one that knows processes: others ask it (``offers["processes"]``)."""
        active = sorted(self._active("enrichers", request), key=lambda one: one[0].name != "process")
        built: list[Enricher] = []
        offers["processes"] = NoProcesses()
        for part, table in active:
            built.append(registry.build(part, table, offers))
            if isinstance(built[-1], ProcessTable):
                offers["processes"] = built[-1]
        return built

    def _lookups(self, request: Request, offers: dict[str, object]) -> list[Lookup]:
        """Build the look-ups, each behind those that it builds on; one of them may know packages (``offers["owners"]``)."""
        built: list[Lookup] = []
        offers["owners"] = NoOwners()
        for part, table in registry.in_order(self._active("lookups", request)):
            built.append(registry.build(part, table, offers))
            if isinstance(built[-1], PackageOwners):
                offers["owners"] = built[-1]
        return built

    def _marking(self) -> Marking:
        """Build what marks destinations that are on lists."""
        shipped = self.config.settings.intel.shipped
        return Marking(Shelf(self.config.state_dir).index_path, health=self.health, defaults=shipped)

    def _scopes(self, request: Request) -> Scopes:
        internal = []
        for text in request.internal:
            network = parse_network(text)
            if network is None:
                raise ConfigError("--internal", "", f"{text!r} is no network such as 10.0.0.0/8")
            internal.append(network)
        public, private = self.config.networks("public"), [*self.config.networks("private"), *internal]
        if request.private_is_public:
            public += private_networks()
        return Scopes(public, private)

    def _sensor(self, choice: str, offers: dict[str, object], among: Sequence[str] = SENSORS) -> Sensor:
        """Give the sensor asked for, or with ``auto`` the best that can run; why a better one could not stands in the summary.

        Another process that captures is as good as the best, and passed over in silence if there is none.
        """
        there = {part.name: (part, table) for part, table in self.parts("sensors")}
        why: list[str] = []
        for name in among if choice == "auto" else (choice,):
            if name not in there:
                if choice == "auto":
                    continue
                raise SensorUnavailable(f"the sensor {name!r} is not part of this version, or switched off", "use --sensor auto")
            if choice == "auto" and name == "remote" and not is_there(Path(there[name][1].socket)):
                continue
            sensor: Sensor = registry.build(*there[name], offers)
            try:
                sensor.check()
            except SensorUnavailable as error:
                if choice != "auto":
                    raise
                why.append(f"sensor {name} can't run: {error}")
                continue
            self.health.blind += why if name != "remote" else []
            return sensor
        raise SensorUnavailable("no sensor can run here", "see outwatch doctor")

    def _sinks(self, request: Request) -> list[Sink]:
        sinks: list[Sink] = []
        for part, table in self.every_part("sinks"):
            if part.name == "suspicious_log" and (request.log or table.enabled):
                path = request.log or private_folder(self.config.log_dir) / table.file
                sinks.append(registry.build(part, table, {"path": path, "level": self.config.settings.log_level}))
        if request.stream is not None and request.spell is not None:
            sinks.append(Lines(stream=request.stream, spell=_Shown(request.shown, request.spell) if request.shown else request.spell))
        return sinks

    def _save(self, records: Sequence[Judged]) -> None:
        """Keep the last picture for ``explain``; that it can't be kept is told and changes nothing else."""
        try:
            folder = private_folder(self.config.state_dir)
            write_atomic(folder / LAST_SCAN, wire.encode_lines(records[:_MOST_SAVED]))
        except OutwatchError as error:
            self.health.tell(f"the picture is not kept for outwatch explain: {error}")


class _Shown:
    """Prints what is to be shown, and later revisions of what was: else a wrong word would stand."""

    def __init__(self, shown: Callable[[Judged], bool], spell: Callable[[Sequence[Record]], bytes]) -> None:
        self._shown, self._spell = shown, spell
        self._printed: OrderedDict[str, None] = OrderedDict()

    def __call__(self, records: Sequence[Record]) -> bytes:
        return self._spell([record for record in records if not isinstance(record, Judged) or self._is_shown(record)])

    def _is_shown(self, record: Judged) -> bool:
        if not self._shown(record) and record.id not in self._printed:
            return False
        self._printed[record.id] = None
        if len(self._printed) > _MOST_SAVED:
            self._printed.popitem(last=False)
        return True


async def _conduct(drive: Drive, picture: Picture, request: Request) -> Outcome:
    """Run a watch with its companion (a screen) and its signals, to the end."""
    loop = asyncio.get_running_loop()
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        drive.hurry()

    companion = loop.create_task(_accompany(request.companion, drive, picture)) if request.companion else None
    with ending_signals(loop, interrupt):
        summary = await drive.run(once=request.once, seconds=request.seconds, patience=request.patience)
        if companion:
            companion.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await companion
        await drive.finish(summary)
    return Outcome(summary, picture.worst_first(), interrupted, drive.failure)


async def _serve(drive: Drive, handover: Handover) -> None:
    """Run a capture to its end."""
    handover.begin(drive.summary)
    with ending_signals(asyncio.get_running_loop(), drive.stop):
        await drive.finish(await drive.run())


async def _accompany(companion: Companion, drive: Drive, picture: Picture) -> None:
    await companion(drive, picture)
