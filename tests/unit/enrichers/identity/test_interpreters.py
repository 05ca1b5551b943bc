"""The script behind an interpreter is found among its options, and no option's value is taken for it."""

import hashlib
import shlex

import pytest

from outwatch.enrichers.identity.interpreters import script_of
from outwatch.enrichers.identity.options import FAMILIES
from outwatch.model.programs import family
from outwatch.model.records import Script


def of(line: str, executable: str | None = None, directory: str | None = "/srv") -> tuple[str | None, str | None] | None:
    """Read a command line as a shell would write it; give kind and name."""
    args = shlex.split(line)
    script = script_of(executable or f"/usr/bin/{args[0]}", args, directory)
    return (script.kind, script.name) if script else None


def code(text: str) -> tuple[str, str]:
    return "code", hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("python3 script.py", "/srv/script.py"),
        ("python3 -W ignore -X dev script.py", "/srv/script.py"),
        ("python3 -Wignore -Xdev -bb -OO -u /opt/x.py -c y", "/opt/x.py"),
        ("python3 -uW ignore x.py", "/srv/x.py"),
        ("python3 --check-hash-based-pycs always x.py", "/srv/x.py"),
        ("python3 -- -odd.py", "/srv/-odd.py"),
        ("python3.11 ../x/./y.py", "/x/y.py"),
        ("python3 //opt//x.py", "/opt/x.py"),
        ("bash -o pipefail x.sh", "/srv/x.sh"),
        ("bash -eo pipefail -O extglob x.sh", "/srv/x.sh"),
        ("bash -euo pipefail x.sh", "/srv/x.sh"),
        ("bash +o history +x x.sh", "/srv/x.sh"),
        ("bash --rcfile /etc/rc --norc x.sh -c y", "/srv/x.sh"),
        ("bash - x.sh", "/srv/x.sh"),
        ("dash -e /opt/x.sh", "/opt/x.sh"),
        ("zsh -f x.zsh", "/srv/x.zsh"),
        ("fish -d 3 x.fish", "/srv/x.fish"),
        ("perl -I lib -w x.pl", "/srv/x.pl"),
        ("perl -Ilib -T -0777 -l012 x.pl", "/srv/x.pl"),
        ("perl '-w -T' x.pl", "/srv/x.pl"),
        ("perl -i.bak -n x.pl", "/srv/x.pl"),
        ("ruby -I lib -W0 -E utf-8 --enable frozen-string-literal x.rb", "/srv/x.rb"),
        ("node --require ./y.js x.js", "/srv/x.js"),
        ("node -r y.js --max-old-space-size=4096 --import=z.mjs -C dev x.js -e y", "/srv/x.js"),
        ("php -c /etc/php -d memory_limit=1G x.php", "/srv/x.php"),
        ("php -n -f x.php -- -r y", "/srv/x.php"),
        ("php -S 127.0.0.1:8000 -t public router.php", "/srv/router.php"),
        ("lua5.4 -l socket -e 'a=1' x.lua", "/srv/x.lua"),
        ("awk -F : -v a=b -f x.awk data", "/srv/x.awk"),
        ("Rscript --vanilla x.R", "/srv/x.R"),
        ("R --no-echo --no-restore --file=x.R --args -e y", "/srv/x.R"),
        ("deno run -A --import-map map.json main.ts", "/srv/main.ts"),
        ("deno run --allow-net https://example.com/x.ts", "https://example.com/x.ts"),
        ("bun run x.ts", "/srv/x.ts"),
        ("bun x.ts", "/srv/x.ts"),
        ("dotnet --roll-forward Major app.dll --port 1", "/srv/app.dll"),
        ("dotnet exec --depsfile a.json app.dll", "/srv/app.dll"),
        ("mono --debug --config c.xml app.exe", "/srv/app.exe"),
        ("java --source 17 Main.java", "/srv/Main.java"),
        ("pwsh -NoProfile -ExecutionPolicy Bypass -File x.ps1", "/srv/x.ps1"),
        ("tclsh -encoding utf-8 x.tcl", "/srv/x.tcl"),
        ("guile -L lib -e main -s x.scm", "/srv/x.scm"),
    ],
)
def test_a_script_is_named_by_its_whole_path(line: str, name: str) -> None:
    assert of(line) == ("script", name)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("python3 -c 'print(1)' x.py", "print(1)"),
        ("python3 -Ic 'print(1)'", "print(1)"),
        ("python3 '-cprint(1)'", "print(1)"),
        ("bash -c 'echo a' b c", "echo a"),
        ("bash -xc 'echo a'", "echo a"),
        ("bash -c -e 'echo a'", "echo a"),
        ("bash -ceuo pipefail 'echo a'", "echo a"),
        ("sh -ec 'echo a'", "echo a"),
        ("fish --command='echo a'", "echo a"),
        ("perl -e 'print 1'", "print 1"),
        ("perl -Mstrict -lne 'print 1' file", "print 1"),
        ("perl -0777ne 'print 1'", "print 1"),
        ("perl -e a -e b", "a\nb"),
        ("ruby -rsocket -e 'p 1'", "p 1"),
        ("ruby -ne 'p 1' -e 'p 2' file", "p 1\np 2"),
        ("node -e 'x()'", "x()"),
        ("node --eval='x()'", "x()"),
        ("node -pe 'x()'", "x()"),
        ("node -p -e 'x()'", "x()"),
        ("php -r 'x();'", "x();"),
        ("lua -e 'x()'", "x()"),
        ("awk -F: 'BEGIN { x }' /etc/passwd", "BEGIN { x }"),
        ("gawk -v a=1 -e 'BEGIN { x }'", "BEGIN { x }"),
        ("Rscript -e 'x()'", "x()"),
        ("deno eval 'x()'", "x()"),
        ("pwsh -nop -c iex (x) y", "iex (x) y"),
    ],
)
def test_inline_code_is_named_by_its_checksum(line: str, text: str) -> None:
    words = line.split() if line.startswith("pwsh") else shlex.split(line)
    script = script_of(f"/usr/bin/{words[0]}", words)
    assert script is not None
    assert (script.kind, script.name) == code(text)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("python3 -m http.server 8000", ("module", "http.server")),
        ("python3 -W ignore -mhttp.server", ("module", "http.server")),
        ("python3 -Im pip install x", ("module", "pip")),
        ("java -Xmx1g -jar app.jar -jar other.jar", ("jar", "/srv/app.jar")),
        ("java -Xmx1g -cp a.jar:b.jar Main", ("class", "/srv/a.jar!Main")),
        ("java -classpath /opt/lib/* -Dx=y org.example.Main -jar x.jar", ("class", "/opt/lib/*!org.example.Main")),
        ("java --class-path=/opt/a.jar Main", ("class", "/opt/a.jar!Main")),
        ("java Main", ("class", "Main")),
        ("java -p mods --add-modules a -m app/org.Main", ("module", "app/org.Main")),
        ("python3 -", ("stdin", "-")),
        ("python3 /dev/stdin", ("stdin", "-")),
        ("bash -s -- x.sh", ("stdin", "-")),
        ("perl - x", ("stdin", "-")),
        ("dotnet run --project x", ("program", "run")),
        ("deno task build", ("program", "build")),
    ],
)
def test_modules_jars_classes_and_standard_input_are_told_apart(line: str, expected: tuple[str, str]) -> None:
    assert of(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("env A=1 -u B python3 x.py", ("program", "-u")),  # an assignment ends env's own options
        ("env -u B A=1 C=2 python3 -u x.py", ("script", "/srv/x.py")),
        ("env -i curl x", ("program", "curl")),
        ("env -S 'python3 -u' x.py", ("script", "/srv/x.py")),
        ("sudo -u root -E A=1 bash -c 'echo a'", code("echo a")),
        ("sudo --user=root /usr/bin/curl x", ("program", "/usr/bin/curl")),
        ("doas -u root python3 x.py", ("script", "/srv/x.py")),
        ("nohup ./run.sh", ("program", "/srv/run.sh")),
        ("setsid -w perl x.pl", ("script", "/srv/x.pl")),
        ("nice -n 10 ruby x.rb", ("script", "/srv/x.rb")),
        ("nice -10 ruby x.rb", ("script", "/srv/x.rb")),
        ("timeout -k 5 -s KILL 10 python3 x.py", ("script", "/srv/x.py")),
        ("timeout 10 curl x", ("program", "curl")),
        ("xargs -0 -n 1 -P4 -I{} curl {}", ("program", "curl")),
        ("sudo env timeout 5 nice bash x.sh", ("script", "/srv/x.sh")),
        ("sudo bash", ("program", "bash")),
        ("sudo -l", None),
        ("busybox wget x", ("applet", "wget")),
        ("busybox sh x.sh", ("script", "/srv/x.sh")),
        ("busybox timeout 5 wget x", ("program", "wget")),
        ("busybox", None),
        ("busybox --list", None),
        ("ld-linux-x86-64.so.2 --library-path /x /usr/bin/curl a", ("program", "/usr/bin/curl")),
    ],
)
def test_wrappers_are_looked_through(line: str, expected: tuple[str, str] | None) -> None:
    assert of(line) == expected


def test_a_box_goes_by_the_name_that_it_is_called_by() -> None:
    assert script_of("/bin/busybox", ["/usr/bin/wget", "x"]) == Script(kind="applet", name="wget")
    assert script_of("/bin/busybox", ["-ash", "/x.sh"]) == Script(kind="script", name="/x.sh")


@pytest.mark.parametrize(
    ("args", "name"),
    [
        (["C:\\tools\\app.exe", "-x"], "C:\\tools\\app.exe"),
        (["/usr/bin/wine64", "app.exe"], "app.exe"),
        (["/usr/lib/wine/wine64-preloader", "/usr/lib/wine/wine64", "Z:\\app.exe"], "Z:\\app.exe"),
    ],
)
def test_wine_runs_a_program_of_windows(args: list[str], name: str) -> None:
    assert script_of("/usr/lib/wine/wine64-preloader", args) == Script(kind="program", name=name)


@pytest.mark.parametrize("line", ["bash", "bash -i", "python3", "python3 -i -q", "node", "java -version", "php -a", "sudo -i", "perl -v"])
def test_a_prompt_runs_no_script(line: str) -> None:
    assert of(line) is None


@pytest.mark.security
@pytest.mark.parametrize(
    ("line", "loads"),
    [
        ("node -r /tmp/x.js /opt/app.js", ("/tmp/x.js",)),
        ("node --import=/tmp/x.mjs /opt/app.js", ("/tmp/x.mjs",)),
        ("java -javaagent:/tmp/x.jar=y -jar /opt/app.jar", ("-javaagent:/tmp/x.jar=y",)),
        ("ruby -r/tmp/x /opt/app.rb", ("/tmp/x",)),
        ("perl '-Mstrict;evil()' /opt/app.pl", ("Mstrict;evil()",)),
        ("php -d auto_prepend_file=/tmp/x.php /opt/app.php", ("auto_prepend_file=/tmp/x.php",)),
        ("sudo node -r /tmp/x.js /opt/app.js", ("/tmp/x.js",)),
        ("ld.so --preload /tmp/x.so /usr/bin/curl", ("/tmp/x.so",)),
    ],
)
def test_code_that_is_loaded_first_is_named_too(line: str, loads: tuple[str, ...]) -> None:
    args = shlex.split(line)
    script = script_of(f"/usr/bin/{args[0]}", args)
    assert script is not None
    assert script.loads == loads


@pytest.mark.parametrize("directory", [None, "", "(unreachable)/x"])
def test_a_relative_path_stays_relative_where_the_working_directory_is_not_known(directory: str | None) -> None:
    assert of("python3 x/y.py", directory=directory) == ("script", "x/y.py")


def test_the_executable_decides_and_not_the_name_that_a_program_gives_itself() -> None:
    assert script_of("/usr/bin/bash", ["sshd: alice", "/x.sh"]) == Script(kind="script", name="/x.sh")
    assert script_of("/usr/bin/curl", ["python3", "/x.py"]) is None


@pytest.mark.security
@pytest.mark.parametrize("kind", sorted(FAMILIES))
@pytest.mark.parametrize(
    "rest", [[], [""], ["-"], ["--"], ["-c"], ["-e"], ["-f"], ["-S", "'"], ["--="], ["-" * 5000], ["env"] * 300, ["\udc80"]]
)
def test_odd_arguments_are_never_an_error(kind: str, rest: list[str]) -> None:
    script = script_of(f"/usr/bin/{kind}", [kind, *rest])
    assert script is None or script.kind is not None


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_every_family_that_is_read_is_an_interpreter_to_all_others_too(kind: str) -> None:
    assert family("R" if kind == "r" else "ld.so" if kind == "ld" else kind) == kind
