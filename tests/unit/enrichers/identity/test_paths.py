"""An update is not a new program, and two programs are never one because their paths look alike."""

import pytest

from outwatch.enrichers.identity.paths import normalised

NIX = "0c5g1hlvsfwpkhxsgs9b7rdz9i6nhlpq"
COMMIT = "8b3775030ed1a69b13e4f4c628c612102e30a681"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/snap/firefox/4483/usr/lib/firefox/firefox", "/snap/firefox/*/usr/lib/firefox/firefox"),
        ("/snap/tool/x1/bin/tool", "/snap/tool/*/bin/tool"),
        ("/var/lib/snapd/snap/tool/77/bin/tool", "/var/lib/snapd/snap/tool/*/bin/tool"),
        (
            f"/var/lib/flatpak/app/org.example.App/x86_64/stable/{COMMIT}{'0' * 24}/files/bin/app",
            "/var/lib/flatpak/app/org.example.App/x86_64/stable/*/files/bin/app",
        ),
        (f"/nix/store/{NIX}-curl-8.4.0-bin/bin/curl", "/nix/store/*-curl-*/bin/curl"),
        (f"/nix/store/{NIX}-git-remote-hg-1.0/bin/x", "/nix/store/*-git-remote-hg-*/bin/x"),
        (f"/gnu/store/{NIX}-hello/bin/hello", "/gnu/store/*-hello/bin/hello"),
        ("/opt/homebrew/Cellar/wget/1.21.4_1/bin/wget", "/opt/homebrew/Cellar/wget/*/bin/wget"),
        ("/home/linuxbrew/.linuxbrew/Cellar/node@20/20.10.0/bin/node", "/home/linuxbrew/.linuxbrew/Cellar/node@20/*/bin/node"),
        ("/tmp/.mount_ObsidiAb3dEf/usr/bin/obsidian", "/tmp/.mount_Obsidi*/usr/bin/obsidian"),
        ("/home/u/.vscode/extensions/ms-python.python-2024.0.1/bin/x", "/home/u/.vscode/extensions/ms-python.python-*/bin/x"),
        ("/home/u/.vscode/extensions/a.b-1.2.3-linux-x64/y", "/home/u/.vscode/extensions/a.b-*-linux-x64/y"),
        (f"/home/u/.vscode-server/bin/{COMMIT}/node", "/home/u/.vscode-server/bin/*/node"),
        (f"/home/u/.vscode-server/cli/servers/Stable-{COMMIT}/server/node", "/home/u/.vscode-server/cli/servers/Stable-*/server/node"),
        ("/home/u/.nvm/versions/node/v20.11.0/bin/node", "/home/u/.nvm/versions/node/*/bin/node"),
        ("/home/u/.config/discord/0.0.40/Discord", "/home/u/.config/discord/*/Discord"),
        ("/home/u/Apps/Tool-1.5.3.AppImage", "/home/u/Apps/Tool-*.AppImage"),
        ("/usr/lib/postgresql/15/bin/postgres", "/usr/lib/postgresql/*/bin/postgres"),
        ("/usr/lib/jvm/java-17-openjdk-amd64/bin/java", "/usr/lib/jvm/java-*-openjdk-amd64/bin/java"),
        ("/usr/bin/python3.11", "/usr/bin/python*"),
        ("/usr/bin/python3", "/usr/bin/python*"),
        ("/usr/bin/perl5.36-x86_64-linux-gnu", "/usr/bin/perl*-x86_64-linux-gnu"),
        ("/usr/bin/php8.2", "/usr/bin/php*"),
        ("/usr/lib/python3.12/site.py", "/usr/lib/python*/site.py"),
    ],
)
def test_what_changes_with_every_update_becomes_a_star(path: str, expected: str) -> None:
    assert normalised(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "/usr/bin/curl", "/opt/google/chrome/chrome", "/usr/bin/bash", "/usr/bin/x86_64-linux-gnu-gcc", "/usr/lib/systemd/systemd",
        "/home/u/1/tool", "/home/u/2/tool", "/home/u/job-12/run", "/opt/app/h264enc", "/usr/bin/md5sum", "/home/u/bin/python-backup",
        "/usr/lib64/ld-linux-x86-64.so.2", "relative/1.2.3/x", "", "/", "C:\\Program Files\\App\\1.2.3\\app.exe",
    ],
)  # fmt: skip
def test_other_paths_stay_as_they_are(path: str) -> None:
    assert normalised(path) == path


@pytest.mark.security
@pytest.mark.parametrize("folder", ["/tmp", "/var/tmp", "/dev/shm", "/run/user/1000"])
@pytest.mark.parametrize("name", ["tool-1.2.3/x", "snap/firefox/4483/x", f"nix/store/{NIX}-curl-8.4/bin/curl", "python3.11"])
def test_nothing_is_shortened_where_everybody_may_write(folder: str, name: str) -> None:
    assert normalised(f"{folder}/{name}") == f"{folder}/{name}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/snap/firefox/1/bin/x", "/snap/chromium/1/bin/x"),
        (f"/nix/store/{NIX}-curl-8.4.0/bin/curl", f"/nix/store/{NIX}-wget-8.4.0/bin/curl"),
        ("/usr/bin/python3.11", "/usr/local/bin/python3.11"),
        ("/home/a/tool-1.0/x", "/home/b/tool-1.0/x"),
        ("/opt/a-1.0/x", "/opt/a-1.0/y"),
    ],
)
def test_different_programs_keep_different_paths(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


@pytest.mark.security
@pytest.mark.parametrize("path", ["/" + "1." * 2000, "/a/" + "1.1-" * 1000 + "/x", "/" + "a1" * 2000 + "/x", "/" + "-1" * 2000 + "/x"])
def test_normalising_twice_changes_nothing_more(path: str) -> None:
    assert normalised(normalised(path)) == normalised(path)
