"""Where a program runs from, and what that says."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from outwatch.detectors.executable_path import ExecutablePath, ExecutablePathConfig
from outwatch.errors import RuleError
from outwatch.model.records import Connection, Detection, Findings, Process

Place = Callable[[str, str, str], RuleError]
Make = Callable[..., Connection]


@pytest.fixture
def inspect(place: Place, connection: Make) -> Callable[..., list[Detection]]:
    """Inspect a connection of the program at a path."""

    def judge(path: str | None, state: Any = None, **settings: Any) -> list[Detection]:
        detector = ExecutablePath(ExecutablePathConfig(**settings), place=place)
        assert detector.problems == []
        return list(detector.inspect(connection(process=Process(pid=1, executable=path), outwatch=Findings(executable=state))))

    return judge


Inspect = Callable[..., list[Detection]]


@pytest.mark.parametrize(
    ("path", "points"),
    [
        ("/tmp/x", 50),
        ("/tmp/deep/down/x", 50),
        ("/var/tmp/x", 50),
        ("/dev/shm/x", 65),
        ("/run/shm/x", 65),
        ("/private/tmp/x", 50),
        ("C:\\Windows\\Temp\\x.exe", 50),
        ("c:\\windows\\TEMP\\x.exe", 50),
        ("C:\\Users\\bob\\AppData\\Local\\Temp\\x.exe", 50),
        ("C:/Users/bob/AppData/Local/Temp/x.exe", 50),
        ("D:\\Users\\Public\\x.exe", 50),
        ("\\\\?\\C:\\Windows\\Temp\\x.exe", 50),
    ],
)
def test_a_program_in_a_temporary_folder_is_suspicious(inspect: Inspect, path: str, points: float) -> None:
    (found,) = inspect(path)
    assert (found.points, found.family) == (points, "process")
    assert found.evidence == {"executable": path}


@pytest.mark.parametrize(
    "path",
    [
        "/usr/bin/curl",
        "/opt/tmp/x",
        "/home/bob/tmp/x",
        "/tmpfiles/x",
        "/var/tmpl/x",
        "/srv/dev/shm/x",
        "/usr/bin/.hidden-file",  # the file may be hidden, the folder is what counts
        "C:\\Windows\\System32\\svchost.exe",
        "C:\\Program Files\\Mozilla Firefox\\firefox.exe",
        "C:\\WindowsTemp\\x.exe",
        "curl",
        "",
    ],
)
def test_a_program_in_an_ordinary_place_is_not(inspect: Inspect, path: str) -> None:
    assert inspect(path) == []


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("/home/bob/.x/run", ".x"),
        ("/home/bob/.../run", "..."),
        ("/usr/lib/.build/run", ".build"),
        ("/home/bob/.local/share/.hid/run", ".hid"),
        ("/home/bob/.cache/run", ".cache"),
        ("/home/bob/.cache/evil/run", ".cache"),
        ("C:\\Users\\bob\\.x\\run.exe", ".x"),
        ("/home/bob/. /run", ". "),
    ],
)
def test_a_program_in_a_hidden_folder_is_suspicious(inspect: Inspect, path: str, folder: str) -> None:
    (found,) = inspect(path)
    assert found.points == 30
    assert found.evidence == {"executable": path, "folder": folder}


@pytest.mark.parametrize(
    "path",
    [
        "/home/bob/.local/bin/tool",
        "/home/bob/.cargo/bin/cargo",
        "/home/bob/.nvm/versions/node/v22/bin/node",
        "/home/bob/project/.venv/bin/python",
        "/home/bob/.vscode-server/bin/abc/node",
        "/home/bob/.cache/uv/archive/bin/ruff",
        "/home/bob/.cache/ms-playwright/chromium/chrome",
        "C:\\Users\\bob\\.vscode\\extensions\\x\\y.exe",
        "/home/bob/.dropbox-dist/dropbox-lnx.x86_64-200/dropbox",
        "/home/bob/.cache/selenium/chromedriver/linux64/130/chromedriver",
    ],
)
def test_the_hidden_folders_of_well_known_tools_are_usual(inspect: Inspect, path: str) -> None:
    assert inspect(path) == []


def test_a_hidden_folder_below_a_temporary_one_gives_both_reasons(inspect: Inspect) -> None:
    assert sorted(found.points for found in inspect("/tmp/.x/run")) == [30, 50]


@pytest.mark.parametrize("path", ["/tmp/.mount_ObsidiAbC123/obsidian", "/var/tmp/.mount_x1y2z3/usr/bin/app"])
def test_a_mounted_app_image_is_usual(inspect: Inspect, path: str) -> None:
    assert inspect(path) == []


@pytest.mark.security
@pytest.mark.parametrize("path", ["/tmp/.mounted/x", "/dev/shm/.mount_abcdef/x", "/tmp/x/.mount_abcdef/x", "/tmp/.mount_abcdef"])
def test_what_only_looks_like_an_app_image_is_not_excused(inspect: Inspect, path: str) -> None:
    assert inspect(path) != []


@pytest.mark.security
@pytest.mark.parametrize(
    ("path", "state", "points"),
    [
        ("/usr/bin/curl", "deleted", [30]),
        ("/memfd:x", "memfd", [65]),
        ("/usr/bin/curl", "replaced", [30]),
        ("/usr/bin/curl", "other_namespace", []),  # every container is one
        ("/tmp/x", "deleted", [30, 50]),
        ("/tmp/x", "other_namespace", [50]),
        ("/tmp/.mount_abcdef/app", "deleted", [30]),  # the exception is for the place alone
    ],
)
def test_the_state_of_the_file_counts_beside_its_place(inspect: Inspect, path: str, state: str, points: list[float]) -> None:
    found = inspect(path, state)
    assert sorted(one.points for one in found) == points
    assert all(one.evidence["state"] == state for one in found)


def test_the_user_adds_folders_and_exceptions(inspect: Inspect) -> None:
    assert [one.points for one in inspect("/srv/upload/x", folders=("/srv/upload/",))] == [50]
    assert [one.points for one in inspect("D:\\Drop\\x.exe", folders=("D:\\Drop",))] == [50]
    assert inspect("/srv/uploads/x", folders=("/srv/upload",)) == []
    assert inspect("/tmp/build/x", exceptions=("/tmp/build/*",)) == []
    assert inspect("/tmp/builder/x", exceptions=("/tmp/build/*",)) != []


def test_a_windows_folder_is_the_same_in_any_case(inspect: Inspect) -> None:
    assert [one.points for one in inspect("d:\\drop\\x.exe", folders=("D:\\Drop",))] == [50]


@pytest.mark.parametrize("folder", ["", "relative", "C:", "./x"])
def test_a_folder_that_is_no_absolute_path_is_listed_with_its_place(place: Place, connection: Make, folder: str) -> None:
    detector = ExecutablePath(ExecutablePathConfig(folders=("/srv/a", folder, "/srv/b")), place=place)
    assert [problem.path for problem in detector.problems] == ["detectors.executable_path.folders[1]"]
    assert list(detector.inspect(connection(process=Process(executable="/srv/b/x")))) != []
    assert list(detector.inspect(connection(process=Process(executable="/usr/bin/x")))) == []


def test_a_connection_without_an_executable_gives_no_reason(inspect: Inspect, place: Place, connection: Make) -> None:
    assert inspect(None) == []
    assert list(ExecutablePath(ExecutablePathConfig(), place=place).inspect(connection(process=None))) == []


@pytest.mark.security
def test_paths_of_a_megabyte_are_judged_and_not_kept_in_memory(place: Place, connection: Make) -> None:
    detector = ExecutablePath(ExecutablePathConfig(), place=place)
    tracemalloc.start()
    try:
        for at in range(64):
            (found,) = detector.inspect(connection(process=Process(executable=f"/tmp/{at}" + "x" * (1 << 20))))
            assert found.points == 50
            del found
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 8 << 20
