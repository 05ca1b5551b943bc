"""How an address and a port are written together."""

from outwatch.guard.text import printable


def endpoint(ip: str | None, port: int | None) -> str:
    """Spell an address and port, IPv6 in brackets (RFC 3986, 3.2.2); safe to show."""
    shown = printable(ip, 100) if ip else "unknown"
    if ":" in shown:
        shown = f"[{shown}]"
    return shown if port is None else f"{shown}:{port}"
