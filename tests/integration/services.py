"""A local service on loopback that behaves like each reputation provider, in a process of its own.

::

    with Services() as services:
        services.behave("virustotal", Manner(key="k1", quotas=((4, 60.0),), told=("retry-after",), latency=0.2))
        services.answer("virustotal", "203.0.113.9", "malicious", malicious=12)   # names: service_replies.NAMES
        services.reply("otx", "203.0.113.9", status=200, body=b"[]")              # any other bytes, as they are
        ... base_url = services.base_url("virustotal")                            # "http://127.0.0.1:PORT/virustotal"
        assert services.count("virustotal") == 1 and services.refused("virustotal") == 0
        assert services.asked("virustotal")["203.0.113.9"] == 1
        assert "k1" in services.requests("virustotal")[0].headers["x-apikey"]

What nothing was said about is "clean". Paths below ``base_url`` are those that the providers document, with their version
(``/api/v3/ip_addresses/203.0.113.9``); any other path is answered with 400, so that it can't pass for "no data". Quotas are sliding
windows by the time at which a request arrived: whoever sends one request more than ``count`` in any span of ``seconds`` is refused with
429 and counted. Where redirects lead is ``services.elsewhere``, a second host (127.0.0.2), whose requests are counted as those of
``"elsewhere"``. A URL with ``https://`` instead gives broken TLS. Asked as an HTTP proxy, it answers by itself
(``Asked.by_proxy``). Everything can be changed while it runs. Benchmarks have it by ``from integration.services import Services``
with ``tests`` on ``sys.path``.
"""

import base64
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

Told = Literal["retry-after", "date", "x-ratelimit"]
Fault = Literal[
    "",
    "500", "502", "503", "503 retry-after", "401", "403", "204",
    "html",  # status 200
    "404 html",
    "empty",  # status 200
    "null", "list", "nested",  # JSON that no provider documents; nested is 100,000 deep
    "truncated",  # JSON that ends in the middle, with the right length
    "too short",  # fewer bytes than Content-Length says, then the connection ends
    "too long",  # more bytes than Content-Length says
    "huge", "huge chunked",  # 100 MB of JSON
    "gzip bomb",  # 200 MB in 200 kB
    "gzip", "broken gzip",  # the right answer, compressed; and bytes that are not gzip but say so
    "redirect", "redirect loop",  # to itself: one hop, and for ever
    "redirect to another host", "redirect to another port",
    "reset", "closed",  # without a byte of reply
    "drip",  # a byte in a tenth of a second
    "not http",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How one provider behaves.

    ``key``: the only one taken (``None``: any or none). ``quotas``: at most so many requests in any span of so many seconds. ``told``: what
    a 429 carries, ``Retry-After`` in seconds or as a date, or ``X-RateLimit-*``, which every other reply then has too. ``latency``:
    seconds before each reply. Every ``hang_every``-th request gets no reply; every ``fault_every``-th gets the ``fault``.
    """

    key: str | None = None
    quotas: tuple[tuple[int, float], ...] = ()
    told: tuple[Told, ...] = ()
    latency: float = 0.0
    hang_every: int = 0
    fault: Fault = ""
    fault_every: int = 1


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request that arrived; ``at`` is by ``time.monotonic``, ``status`` 0 if it was given no reply, names of headers are small."""

    provider: str
    indicator: str
    target: str
    headers: Mapping[str, str]
    at: float
    status: int
    by_proxy: bool


class Services:
    """The service, running from ``with`` to its end. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""
        self.elsewhere = ""

    def __enter__(self) -> Self:
        tests = Path(__file__).resolve().parents[1]
        argv = [sys.executable, "-m", "integration.service_process"]
        env = {"PYTHONPATH": str(tests), "PATH": os.environ["PATH"]}
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, cwd="/")
        try:
            self.address, self.elsewhere = self._answer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is None:
            return
        try:
            self._process.communicate(timeout=10)  # it ends when its input does
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def base_url(self, provider: str) -> str:
        """Give what to configure as a provider's ``base_url``."""
        return f"http://{self.address}/{provider}"

    def behave(self, provider: str, manner: Manner) -> None:
        """Have a provider behave in another manner from now on; what it has counted for its quotas stays."""
        self._tell("behave", provider, asdict(manner))

    def answer(self, provider: str, indicator: str | None, name: str, **facts: Any) -> None:
        """Set which documented answer an indicator gets (``None``: all others), and facts of it that differ."""
        self._tell("answer", provider, indicator, name, facts)

    def reply(
        self, provider: str, indicator: str | None, *, status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        """Set the very reply that an indicator gets (``None``: all others)."""
        self._tell("reply", provider, indicator, status, base64.b64encode(body).decode(), dict(headers or {}))

    def requests(self, provider: str | None = None) -> list[Asked]:
        """Give all requests so far, of one provider or of all, in the order in which they arrived."""
        return [Asked(**one) for one in self._tell("requests") if provider in {None, one["provider"]}]

    def count(self, provider: str | None = None) -> int:
        """Count the requests."""
        return len(self.requests(provider))

    def refused(self, provider: str | None = None) -> int:
        """Count the requests that were more than a quota allows."""
        return sum(one.status == 429 for one in self.requests(provider))

    def asked(self, provider: str) -> Counter[str]:
        """Count a provider's requests by indicator."""
        return Counter(one.indicator for one in self.requests(provider))

    def most_at_once(self, provider: str) -> int:
        """Tell how many requests of a provider were open at the same time at most."""
        return int(self._tell("most at once").get(provider, 0))

    def connections(self) -> int:
        """Count the connections that were opened."""
        return int(self._tell("connections"))

    def forget(self) -> None:
        """Forget all requests and what was counted for quotas; manners and answers stay."""
        self._tell("forget")

    def reset(self) -> None:
        """Be as at the beginning: no manners, no answers, nothing counted."""
        self._tell("reset")

    def _tell(self, *command: Any) -> Any:
        with self._lock:
            assert self._process is not None
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
            return self._answer()

    def _answer(self) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the local service has ended; its last words are on standard error"
        said = json.loads(line)
        assert "error" not in said, said
        return said["result"]
