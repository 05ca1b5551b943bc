"""Programs whose file is not what it was, or not what its package brought: somebody exchanged it, and no update did."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import translate
from re import compile as compile_pattern
from typing import ClassVar

from outwatch.errors import RuleError
from outwatch.model.interfaces import Field, Part, PartConfig
from outwatch.model.records import Detection, Fact, Family, Judged

_TECHNIQUES = ("T1554",)  # Compromise Host Software Binary
_FOREIGN, _CHANGED = 60.0, 25.0


class ExecutableChangedConfig(PartConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``exceptions``: globs of paths whose files change all the time, such as those of one's own builds."""

    exceptions: tuple[str, ...] = ()


class ExecutableChanged:
    """Judges what is known of the file at a program's path."""

    name: ClassVar[str] = "executable_changed"
    family: ClassVar[Family] = "process"
    needs: ClassVar[frozenset[Field]] = frozenset()

    def __init__(self, config: ExecutableChangedConfig) -> None:
        """Take the user's exceptions."""
        self.problems: Sequence[RuleError] = ()
        self._exceptions: list[Callable[[str], object]] = [compile_pattern(translate(one)).match for one in config.exceptions]

    def inspect(self, seen: Judged) -> Iterable[Detection]:
        """Yield reasons from ``outwatch.package`` and ``outwatch.changed``."""
        package, changed = seen.outwatch.package, seen.outwatch.changed
        if (changed is None or changed.by_package) and (package is None or package.matches is not False):
            return ()
        path = (seen.process.executable if seen.process else None) or ""
        return () if any(excepted(path) for excepted in self._exceptions) else tuple(self._reasons(seen, path))

    def _reasons(self, seen: Judged, path: str) -> Iterator[Detection]:
        package, changed = seen.outwatch.package, seen.outwatch.changed
        if package is not None and package.matches is False:
            named = " ".join(text for text in (package.name, package.version) if text)
            yield self._detection(_FOREIGN, "its file is not the one that its package brought", path, package=named or None)
        if changed is not None and not changed.by_package:
            yield self._detection(
                _CHANGED,
                "another file was at its path before, and no package brought this one",
                path,
                before=changed.sha256,
                seen_until=changed.last_seen.isoformat() if changed.last_seen else None,
            )

    def _detection(self, points: float, reason: str, path: str, **more: str | None) -> Detection:
        evidence: dict[str, Fact] = {key: value for key, value in (("executable", path), *more.items()) if value}
        return Detection(detector=self.name, family=self.family, points=points, reason=reason, evidence=evidence, techniques=_TECHNIQUES)


PART = Part(name="executable_changed", config=ExecutableChangedConfig, build=ExecutableChanged)
