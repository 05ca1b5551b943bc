"""Who waits for callers on this machine: what tells an accepted connection from one that was opened here."""


class Listeners:
    """The local ends that wait, of this look and of the one before: a server may take one caller and stop."""

    def __init__(self) -> None:
        """Know nobody yet."""
        self._now: dict[tuple[int, int], set[str]] = {}
        self._before: dict[tuple[int, int], set[str]] = {}

    def turn(self) -> None:
        """Begin another look."""
        self._now, self._before = {}, self._now

    def note(self, kind: int, ip: str, port: int) -> None:
        """Note a local end that waits; ``kind`` keeps transports apart."""
        self._now.setdefault((kind, port), set()).add(ip)

    def waits(self, kind: int, ip: str, port: int) -> bool:
        """Tell whether somebody waits at a connection's local end, or did at the look before."""
        now, before = self._now.get((kind, port)), self._before.get((kind, port))
        if not now and not before:
            return False
        addresses = (now or set()) | (before or set())
        if ip in addresses:
            return True
        bare = ip.removeprefix("::ffff:")
        wild = {"::", "0.0.0.0"} if "." in bare else {"::"}  # noqa: S104 - compared with, not bound to
        return bool(addresses & {bare, f"::ffff:{bare}"} or addresses & wild)
