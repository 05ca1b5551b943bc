"""Containers, pods, services and sessions are read from the paths of cgroups, as each runtime writes them."""

import pytest

from outwatch.enrichers.identity.units import NOWHERE, Place, place_of

ID = "ab" * 32
OTHER = "cd" * 32
UID = "8a0f5b2c-1d2e-4f3a-9b4c-5d6e7f8091a2"
SLICE_UID = UID.replace("-", "_")


@pytest.mark.parametrize(
    ("path", "container", "runtime", "pod"),
    [
        (f"/system.slice/docker-{ID}.scope", ID, "docker", None),
        (f"/docker/{ID}", ID, "docker", None),
        (f"/docker/{ID}/system.slice/nginx.service", ID, "docker", None),
        (f"/docker/{OTHER}/docker/{ID}", ID, "docker", None),
        (f"/machine.slice/libpod-{ID}.scope/container", ID, "podman", None),
        (f"/libpod_parent/libpod-{ID}", ID, "podman", None),
        (f"/system.slice/web.service/libpod-payload-{ID}", ID, "podman", None),
        (f"/kubepods.slice/kubepods-pod{SLICE_UID}.slice/cri-containerd-{ID}.scope", ID, "containerd", UID),
        (f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{SLICE_UID}.slice/crio-{ID}.scope", ID, "cri-o", UID),
        (f"/kubepods/besteffort/pod{UID}/{ID}", ID, None, UID),
        (f"/kubepods.slice/kubepods-pod{'ab' * 16}.slice/docker-{ID}.scope", ID, "docker", "ab" * 16),
        (f"/system.slice/containerd.service/kubepods-pod{SLICE_UID}.slice:cri-containerd:{ID}", ID, "containerd", UID),
        (f"/default/nerdctl-{ID}.scope", ID, "containerd", None),
        ("/lxc.payload.web/init.scope", "web", "lxc", None),
        ("/lxc/web/system.slice", "web", "lxc", None),
        ("/machine.slice/machine-my\\x2dbox.scope/payload", "my-box", "systemd-nspawn", None),
        ("/machine.slice/systemd-nspawn@box.service/payload", "box", "systemd-nspawn", None),
    ],
)
@pytest.mark.parametrize("before", ["0::", "12:memory:", "1:name=systemd:"])
def test_a_container_is_named_by_its_runtime(path: str, container: str, runtime: str | None, pod: str | None, before: str) -> None:
    place = place_of(f"{before}{path}\n")
    assert (place.container, place.runtime, place.pod) == (container, runtime, pod)


@pytest.mark.parametrize(
    "path",
    [
        f"/machine.slice/libpod-conmon-{ID}.scope",
        f"/system.slice/docker-{ID[:-1]}.scope",
        f"/system.slice/docker-{ID}0.scope",
        f"/system.slice/docker-{'zz' * 32}.scope",
        f"/system.slice/x-docker-{ID}.scope",
        "/system.slice/docker.service",
        f"/some/{ID}",
    ],
)
def test_what_only_looks_like_a_container_is_none(path: str) -> None:
    assert place_of(f"0::{path}\n").container is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/system.slice/nginx.service", Place(unit="nginx.service")),
        ("/system.slice/system-getty.slice/getty@tty1.service", Place(unit="getty@tty1.service")),
        ("/system.slice/foo\\x2dbar.service", Place(unit="foo-bar.service")),
        ("/user.slice/user-1000.slice/session-3.scope", Place(unit="session-3.scope", session="3")),
        ("/user.slice/user-1000.slice/session-c1.scope", Place(unit="session-c1.scope", session="c1")),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-firefox-77.scope",
            Place(unit="user@1000.service", user_unit="app-gnome-firefox-77.scope", user="1000"),
        ),
        ("/user.slice/user-1000.slice/user@1000.service", Place(unit="user@1000.service", user="1000")),
        ("/init.scope", Place(unit="init.scope")),
        ("/system.slice/cron.service (deleted)", Place(unit="cron.service")),
        ("/../../system.slice/cron.service", Place(unit="cron.service")),
        (f"/system.slice/docker-{ID}.scope", Place(container=ID, runtime="docker")),
        (f"/system.slice/web.service/libpod-payload-{ID}", Place(container=ID, runtime="podman", unit="web.service")),
        ("/", NOWHERE),
        ("", NOWHERE),
        ("relative", NOWHERE),
        ("/custom/group", NOWHERE),
    ],
)
def test_units_and_sessions_of_systemd_are_named(path: str, expected: Place) -> None:
    assert place_of(f"0::{path}\n") == expected


@pytest.mark.security
def test_a_service_that_makes_cgroups_itself_can_not_call_itself_another_service() -> None:
    assert place_of("0::/system.slice/web.service/sshd.service/session-1.scope\n") == Place(unit="web.service")


@pytest.mark.security
@pytest.mark.parametrize("name", [f"docker-{ID}.scope", f"libpod-{ID}.scope"])
def test_a_container_that_a_user_made_is_marked_as_that_users_word(name: str) -> None:
    place = place_of(f"0::/user.slice/user-1000.slice/user@1000.service/app.slice/{name}\n")
    assert (place.container, place.user, place.unit, place.user_unit) == (ID, "1000", "user@1000.service", None)


def test_lines_of_version_1_are_read_where_version_2_says_nothing() -> None:
    text = f"12:pids:/docker/{ID}\n1:name=systemd:/system.slice/docker.service\n0::/\n"
    assert place_of(text) == Place(container=ID, runtime="docker", unit="docker.service")


def test_version_2_comes_before_systemds_own_tree() -> None:
    assert place_of("1:name=systemd:/system.slice/old.service\n0::/system.slice/new.service\n").unit == "new.service"


@pytest.mark.parametrize("text", ["", "\n\n", "::", "0:", "x::/a.service", "0::" + "/a" * 50_000, "0::/x\n" * 10_000, "\x000::/a.service"])
def test_lines_that_lie_say_nothing(text: str) -> None:
    assert place_of(text) == NOWHERE
