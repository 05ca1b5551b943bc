"""The settings that every reputation provider has."""

from typing import Annotated

import msgspec

Positive = Annotated[int, msgspec.Meta(ge=1, le=1000)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]


class ProviderConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One service: whether it is asked, where it lives, the key, and how much it may be asked.

    ``enabled`` that is not set means: yes if there is a key; services that need none must be switched on. ``base_url`` replaces the
    service's own, and is permission to go there whatever address that is. ``api_key_file`` goes before ``api_key``. At most ``at_once``
    requests are under way, each for at most ``seconds``. ``per_minute`` and ``per_day`` replace the limits of a free key (0: none).
    """

    enabled: bool | None = None
    base_url: str | None = None
    api_key: str | None = None
    api_key_file: str | None = None
    at_once: Positive = 64
    seconds: Annotated[float, msgspec.Meta(gt=0, le=120)] = 10.0
    per_minute: NotNegative | None = None
    per_day: NotNegative | None = None

    def __repr__(self) -> str:
        """Show the settings without the key: what is shown ends in logs."""
        shown = {name: getattr(self, name) for name in self.__struct_fields__ if name != "api_key"}
        told = ", ".join(f"{name}={value!r}" for name, value in shown.items())
        return f"{type(self).__name__}({told}, api_key={'None' if self.api_key is None else '…'})"
