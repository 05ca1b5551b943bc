"""Programs that run from where programs are not installed: temporary and hidden folders, deleted files, memory."""

from collections.abc import Callable, Iterable
from fnmatch import translate
from functools import lru_cache
from re import compile as compile_pattern
from typing import ClassVar

from outwatch.errors import RuleError
from outwatch.model.interfaces import Field, Part, PartConfig
from outwatch.model.records import Detection, Family, FileState, Judged

_REMEMBERED = 16_384
_LONGEST = 4096  # characters of a path that is worth remembering

# Folder, points, what to say. Anyone may write to them, so installers don't use them and intruders do.
_TEMPORARY: tuple[tuple[str, float, str], ...] = (
    ("/dev/shm/", 65, "runs from shared memory, which no installer uses"),  # noqa: S108 - looked for, not written to
    ("/run/shm/", 65, "runs from shared memory, which no installer uses"),
    ("/tmp/", 50, "runs from a temporary folder"),  # noqa: S108
    ("/var/tmp/", 50, "runs from a temporary folder"),  # noqa: S108
    ("/private/tmp/", 50, "runs from a temporary folder"),
    ("/private/var/tmp/", 50, "runs from a temporary folder"),
    ("/users/public/", 50, "runs from a folder that everyone may write to"),
    ("/windows/temp/", 50, "runs from a temporary folder"),
    ("/appdata/local/temp/", 50, "runs from a temporary folder"),
)
_TEMPORARY_ANYWHERE = frozenset({"/users/public/", "/windows/temp/", "/appdata/local/temp/"})

# Hidden folders in which well-known tools install programs on purpose.
_USUAL_HIDDEN = frozenset(
    {
        ".dropbox-dist",
        ".local", ".cargo", ".rustup", ".nvm", ".fnm", ".pyenv", ".rbenv", ".rvm", ".asdf", ".mise", ".volta", ".bun", ".deno",
        ".dotnet", ".sdkman", ".jdks", ".jenv", ".gradle", ".m2", ".ghcup", ".opam", ".elan", ".juliaup", ".conda", ".miniconda3",
        ".pixi", ".venv", ".tox", ".nox", ".virtualenvs", ".nix-profile", ".nix-defexpr", ".guix-profile", ".linuxbrew", ".var",
        ".steam", ".wine", ".vscode", ".vscode-server", ".vscode-insiders", ".cursor", ".cursor-server", ".windsurf", ".zed",
        ".jetbrains", ".mozilla", ".tor-browser", ".npm", ".npm-global", ".yarn", ".pnpm", ".node_modules", ".krew", ".rd",
        ".docker", ".minikube", ".kube", ".pulumi", ".terraform.d", ".tfenv", ".goenv", ".gvm", ".swiftpm", ".platformio",
        ".arduino15", ".android", ".pub-cache", ".flutter", ".claude", ".codeium", ".continue", ".ollama", ".electron",
        ".snapshots",
    }
)  # fmt: skip
_USUAL_BELOW_CACHE = frozenset(
    {
        "uv",
        "pre-commit",
        "ms-playwright",
        "puppeteer",
        "bazelisk",
        "bazel",
        "pypoetry",
        "cypress",
        "electron",
        "act",
        "selenium",
        "rod",
        "go-build",
    }
)
# An AppImage mounts itself at /tmp/.mount_NAMExxxxxx while it runs (AppImage runtime).
_DEFAULT_EXCEPTIONS = ("/tmp/.mount_*??????/*", "/var/tmp/.mount_*??????/*")  # noqa: S108

_STATES: dict[FileState, tuple[float, str, tuple[str, ...]]] = {
    "deleted": (30, "its executable was deleted while it runs (an update does that too)", ("T1070.004",)),
    "memfd": (65, "its program exists only in memory", ("T1620",)),
    "replaced": (30, "its path leads to another file than the one it runs", ("T1036.005",)),
}


class ExecutablePathConfig(PartConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``folders`` adds folders to distrust; ``exceptions`` are globs of paths to leave alone, beside AppImage mounts."""

    folders: tuple[str, ...] = ()
    exceptions: tuple[str, ...] = ()


class ExecutablePath:
    """Judges where the program behind a connection lies."""

    name: ClassVar[str] = "executable_path"
    family: ClassVar[Family] = "process"
    needs: ClassVar[frozenset[Field]] = frozenset({"process.executable"})

    def __init__(self, config: ExecutablePathConfig, *, place: Callable[[str, str, str], RuleError]) -> None:
        """Take the user's own folders and exceptions; a folder that is no absolute path goes to ``problems``."""
        self.problems: list[RuleError] = []
        self._folders = list(_TEMPORARY)
        for at, folder in enumerate(config.folders):
            if not _slashed(folder).startswith("/"):
                key = f"detectors.executable_path.folders[{at}]"
                self.problems.append(place(key, folder, f"{folder!r} is no absolute path"))
                continue
            self._folders.append((_slashed(folder).rstrip("/") + "/", 50, "runs from a folder that your configuration distrusts"))
        self._exceptions = [compile_pattern(translate(one)).match for one in (*_DEFAULT_EXCEPTIONS, *config.exceptions)]
        self._judge = lru_cache(maxsize=_REMEMBERED)(self._judge_path)

    def inspect(self, seen: Judged) -> Iterable[Detection]:
        """Yield reasons from the path and from the state of the file."""
        process = seen.process
        if process is None or process.executable is None:
            return ()
        judge = self._judge if len(process.executable) <= _LONGEST else self._judge_path
        return judge(process.executable, seen.outwatch.executable)

    def _judge_path(self, path: str, state: FileState | None) -> tuple[Detection, ...]:
        found: list[Detection] = []
        if state in _STATES:
            points, reason, techniques = _STATES[state]
            found.append(self._detection(points, reason, techniques, path, state))
        if state == "memfd" or any(excepted(path) for excepted in self._exceptions):
            return tuple(found)
        slashed = _slashed(path)
        for folder, points, reason in self._folders:
            if slashed.startswith(folder) or (folder in _TEMPORARY_ANYWHERE and folder in slashed.lower()):
                found.append(self._detection(points, reason, ("T1036.005",), path, state))
                break
        hidden = _hidden_folder(slashed)
        if hidden is not None:
            found.append(self._detection(30, "runs from a hidden folder", ("T1564.001",), path, state, hidden))
        return tuple(found)

    def _detection(
        self, points: float, reason: str, techniques: tuple[str, ...], path: str, state: FileState | None, folder: str | None = None
    ) -> Detection:
        evidence = {"executable": path, "state": state, "folder": folder}
        return Detection(
            detector=self.name,
            family=self.family,
            points=points,
            reason=reason,
            evidence={key: value for key, value in evidence.items() if value is not None},
            techniques=techniques,
        )


def _slashed(path: str) -> str:
    """Spell a Windows path as the others are: no drive, forward slashes."""
    if len(path) > 1 and path[1] == ":":  # names have no case there
        return path[2:].replace("\\", "/").lower()
    return path.replace("\\", "/") if "\\" in path and not path.startswith("/") else path


def _hidden_folder(path: str) -> str | None:
    """Give the first hidden folder on a path in which no well-known tool keeps its programs."""
    parts = path.split("/")[1:-1]
    for at, part in enumerate(parts):
        if not part.startswith(".") or part.lower() in _USUAL_HIDDEN:
            continue
        if part == ".cache" and at + 1 < len(parts) and parts[at + 1].lower() in _USUAL_BELOW_CACHE:
            continue
        return part
    return None


PART = Part(name="executable_path", config=ExecutablePathConfig, build=ExecutablePath)
