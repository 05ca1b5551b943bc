"""Interpreters are known by name, whatever version they are, and a subject that names its script stands for that script alone."""

import pytest

from outwatch.model.programs import family, runs_anything


@pytest.mark.parametrize(
    ("program", "kind"),
    [
        ("/usr/bin/python3", "python"),
        ("/usr/bin/python3.11", "python"),
        ("/usr/bin/python3.13t", "python"),
        ("pypy3.10", "pypy"),
        ("/usr/bin/perl5.36-x86_64-linux-gnu", "perl"),
        ("/usr/bin/php8.2", "php"),
        ("/usr/bin/lua5.4", "lua"),
        ("/usr/bin/ruby3.1", "ruby"),
        ("/usr/lib/jvm/java-17-openjdk-amd64/bin/java", "java"),
        ("C:\\Python311\\pythonw.exe", "python"),
        ("C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\PowerShell.exe", "powershell"),
        ("/bin/ash", "ash"),
        ("/bin/ksh93", "ksh"),
        ("/lib64/ld-linux-x86-64.so.2", "ld"),
        ("/lib/ld-musl-x86_64.so.1", "ld"),
        ("/usr/bin/wine64-preloader", "wine64-preloader"),
        ("/usr/lib/R/bin/exec/R", "r"),
        ("/usr/bin/timeout", "timeout"),
        ("/usr/bin/nice", "nice"),
    ],
)
def test_an_interpreter_is_known_in_every_version(program: str, kind: str) -> None:
    assert family(program) == kind


@pytest.mark.parametrize(
    "program",
    ["/usr/bin/curl", "/usr/bin/ssh", "/usr/sbin/sshd", "/usr/bin/r", "/usr/bin/pythonista", "/usr/bin/nodemon", "/usr/bin/environment",
     "/usr/bin/perlbrew", "/python3/tool", "", "/", "/usr/bin/ld"],
)  # fmt: skip
def test_other_programs_are_no_interpreters(program: str) -> None:
    assert family(program) is None
    assert not runs_anything(program)


@pytest.mark.security
@pytest.mark.parametrize(
    ("subject", "anything"),
    [
        ("/usr/bin/python*", True),
        ("/usr/bin/python* script:/opt/backup.py", False),
        ("/usr/bin/python* script:backup.py", True),
        ("/usr/bin/python* module:http.server", True),
        ("/usr/bin/bash code:0123456789abcdef", False),
        ("/usr/bin/bash code:short", True),
        ("/usr/bin/bash code:0123456789abcdef0", True),
        ("/usr/bin/bash stdin:-", True),
        ("/usr/bin/sudo program:/usr/bin/curl", True),
        ("/usr/bin/java jar:/opt/app.jar", False),
        ("/usr/bin/java class:Main", True),
        ("/bin/busybox applet:wget", True),
        ("/usr/bin/curl script:x", False),
    ],
)
def test_only_a_whole_path_or_a_checksum_says_what_an_interpreter_runs(subject: str, *, anything: bool) -> None:
    assert runs_anything(subject) is anything
