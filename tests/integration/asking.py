"""outwatch as a program that asks the local services, with a configuration and a state folder of its own."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .child import LONG, Child
from .lab import outwatch_command
from .services import Manner, Services

PUBLIC = ("198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
KEY = "k-0001"
THREE = ("virustotal", "abuseipdb", "ipinfo")
BAD, GOOD, NEW = "203.0.113.9", "203.0.113.10", "203.0.113.11"
MANNER = Manner(key=KEY)


class Asking:
    """Runs outwatch; its three first providers live at the local services and have a key unless said otherwise."""

    def __init__(self, services: Services, folder: Path) -> None:
        self.services = services
        self.folder = folder
        self.state = folder / "state"
        self.config = folder / "outwatch.toml"
        self.env: dict[str, str] = {}
        self.configure()

    def configure(
        self,
        providers: Sequence[str] = ("virustotal", "abuseipdb", "ipinfo"),
        settings: Mapping[str, str] | None = None,
        *,
        key: str = f'api_key = "{KEY}"',
        public: Sequence[str] = PUBLIC,
    ) -> None:
        """Write the configuration: these providers, each with more ``settings`` (``"*"``: all that have none of their own)."""
        more = {"*": "", **(settings or {})}
        tables = [
            f"[reputation.{name}]\n{key}\nbase_url = {json.dumps(self.services.base_url(name))}\n{more.get(name, more['*'])}\n"
            for name in providers
        ]
        self.config.write_text(
            f"state_dir = {json.dumps(str(self.state))}\n[scope]\npublic = {json.dumps(list(public))}\n" + "\n".join(tables)
        )
        self.config.chmod(0o600)

    def command(self, *arguments: str) -> list[str]:
        return outwatch_command(*arguments, "--config", str(self.config))

    def surroundings(self) -> dict[str, str]:
        return {**os.environ, "OUTWATCH_STATE_DIR": str(self.state), **self.env}

    def outwatch(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            timeout=2 * LONG,
            env=self.surroundings(),
            cwd=self.folder,
            check=False,
        )

    def started(self, *arguments: str) -> Child:
        return Child(self.command(*arguments), env=self.surroundings(), cwd=str(self.folder))

    def looked_up(self, *arguments: str, code: int | None = 0) -> dict[str, dict[str, Any]]:
        """Run ``lookup`` and give, by indicator and provider, what was said."""
        done = self.outwatch("lookup", *arguments, "--jsonl")
        assert code is None or done.returncode == code, done.stderr
        return opinions([json.loads(line) for line in done.stdout.splitlines()])


def opinions(records: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Give what the last word of each record says, by indicator and provider."""
    found: dict[str, dict[str, Any]] = {}
    for one in records:
        if one["kind"] in {"lookup", "connection"}:
            value = one["indicator"]["value"] if one["kind"] == "lookup" else one["destination"]["ip"]
            found[value] = {said["provider"]: said for said in one["outwatch"].get("reputation", [])}
    return found


def reported(path: Path) -> dict[str, dict[str, Any]]:
    """Give what a report in lines says of each destination, by provider."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return {
        one["destination"]["ip"]: {said["provider"]: said for said in one["outwatch"].get("reputation", [])}
        for one in rows
        if one["kind"] == "connection"
    }
