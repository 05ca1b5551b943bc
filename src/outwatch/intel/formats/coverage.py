"""How much of the internet a list covers, measured in bounded memory while it is read."""

from ipaddress import IPv4Network

from outwatch.net.addresses import Network

_V4_PUBLIC = float(1 << 32)
_V6_PUBLIC = float(1 << 125)  # 2000::/3
_BLOCK_V4, _BLOCK_V6 = 24, 48  # networks up to this length are merged, so that none counts twice; longer ones are only added up
_PATIENCE = 10_000  # networks that are kept before they are merged


class _Family:
    """The networks of one kind of address."""

    def __init__(self, space: float) -> None:
        self._space, self._single = space, 0
        self._spans: list[tuple[int, int]] = []
        self._limit = _PATIENCE

    def add(self, network: Network, block: int) -> None:
        if network.prefixlen > block:
            self._single += network.num_addresses
            return
        self._spans.append((int(network.network_address), int(network.broadcast_address) + 1))
        if len(self._spans) >= self._limit:
            self._merge()
            self._limit = 2 * len(self._spans) + _PATIENCE

    def share(self) -> float:
        self._merge()
        return (self._single + sum(end - start for start, end in self._spans)) / self._space

    def _merge(self) -> None:
        merged: list[tuple[int, int]] = []
        for start, end in sorted(self._spans):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        self._spans = merged


class Coverage:
    """Adds up the networks of a list; overlapping ones count once."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._v4, self._v6 = _Family(_V4_PUBLIC), _Family(_V6_PUBLIC)

    def add(self, network: Network) -> None:
        """Count a network."""
        if isinstance(network, IPv4Network):
            self._v4.add(network, _BLOCK_V4)
        else:
            self._v6.add(network, _BLOCK_V6)

    def too_much(self, most: float) -> str | None:
        """Say so if the list covers more than the share of the address space that it may."""
        for family, space in (("IPv4", self._v4), ("IPv6", self._v6)):
            share = space.share()
            if share > most:
                return f"covers {share:.1%} of all {family} addresses, and {most:.1%} is the most that a list may"
        return None
