"""How interpreters and wrappers read their arguments: which options take a value, and which say what is to be run.

Taken from each program's own manual. An option that is in no table takes no value.
"""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Literal


class Does(Enum):
    """What an option does with what stands behind it."""

    VALUE = auto()  # takes the rest of its word, or else the next one
    NEXT = auto()  # takes the next word, and more letters may stand behind it (``bash -eo pipefail``)
    REST = auto()  # takes the rest of its word, if there is any (``perl -i.bak``)
    DIGITS = auto()  # takes digits in the same word (``perl -0777ne``)
    CODE = auto()  # what follows is code; the rest are its arguments
    JOINED_CODE = auto()  # code of which there may be more; then there is no script
    DASHLESS_CODE = auto()  # the same, unless the next word is an option (``node -p -e 'code'``)
    ALL_CODE = auto()  # all that follows is code
    MAYBE_CODE = auto()  # code that comes before a script, if there is a script too
    LATE_CODE = auto()  # code is the first word that is no option (``sh -c -e 'code'``)
    FILE = auto()  # what follows is a script
    MODULE = auto()  # what follows is a module
    JAR = auto()
    STDIN = auto()  # the script comes from standard input
    LOADS = auto()  # as VALUE; other code that is run first
    LOADS_REST = auto()  # the same, as REST
    CLASS_PATH = auto()  # a value that is part of what is run
    SPLIT = auto()  # what follows is a command line in one word (``env -S``)


First = Literal["script", "code", "command", "class", "command_after_one", "assembly", "subcommand"]


@dataclass(frozen=True)
class Options:
    """A family's options.

    ``letters`` may be joined in one word; ``words`` are whole ones, with one dash or two, and may have their value behind ``=``.
    ``first`` is what the first word that is no option means.
    """

    letters: dict[str, Does] = field(default_factory=dict)
    words: dict[str, Does] = field(default_factory=dict)
    first: First = "script"
    joined: bool = True  # letters may be joined; else a word with one dash is one option
    plus: bool = False  # options may begin with "+" too
    assigns: bool = False  # NAME=value may stand before the command
    whole: bool = False  # a word with one dash that begins with a known letter is that option (``timeout -s9``)
    folded: bool = False  # capital letters don't matter
    loads: tuple[str, ...] = ()  # how words begin that name other code to be run first


def _all(does: Does, names: str) -> dict[str, Does]:
    return dict.fromkeys(names.split(), does)


V, C, J, L = Does.VALUE, Does.CODE, Does.JOINED_CODE, Does.LOADS
_SHELL = Options(
    letters={"c": Does.LATE_CODE, "o": Does.NEXT, "O": Does.NEXT, "s": Does.STDIN},
    words=_all(V, "--rcfile --init-file"),
    plus=True,
)
_PYTHON = Options(
    letters={"c": C, "m": Does.MODULE, **_all(V, "W X Q")},
    words=_all(V, "--check-hash-based-pycs --jit"),
)
_AWK = Options(
    letters={"f": Does.FILE, "E": Does.FILE, "e": J, **_all(V, "v F"), **_all(L, "i l")},
    words={
        "--file": Does.FILE, "--exec": Does.FILE, "--source": J,
        **_all(V, "--assign --field-separator"), **_all(L, "--include --load"),
    },
    first="code",
)  # fmt: skip
_NODE = Options(
    letters={**_all(Does.DASHLESS_CODE, "e p"), "r": L, "C": V},
    words={
        **_all(Does.DASHLESS_CODE, "-pe --eval --print"), **_all(L, "--require --import --loader --experimental-loader"),
        **_all(V, "--conditions --input-type --env-file --env-file-if-exists --title"),
        **_all(V, "--icu-data-dir --openssl-config --redirect-warnings --diagnostic-dir --inspect-port --debug-port --dns-result-order"),
        **_all(V, "--unhandled-rejections --disable-warning --watch-path --test-name-pattern --test-reporter --test-reporter-destination"),
        **_all(V, "--max-http-header-size --tls-cipher-list --tls-keylog --trace-event-categories --trace-event-file-pattern"),
        **_all(V, "--experimental-config-file --heapsnapshot-signal --report-dir --report-directory --report-filename --report-signal"),
        **_all(V, "--cpu-prof-dir --cpu-prof-name --heap-prof-dir --heap-prof-name --secure-heap --secure-heap-min --localstorage-file"),
        **_all(V, "--network-family-autoselection-attempt-timeout --experimental-default-type --build-snapshot-config"),
    },
)  # fmt: skip
_JAVA = Options(
    words={
        "-jar": Does.JAR, "-m": Does.MODULE, "--module": Does.MODULE,
        **_all(Does.CLASS_PATH, "-cp -classpath --class-path"),
        **_all(V, "-p --module-path --upgrade-module-path --add-modules --add-exports --add-opens --add-reads --patch-module"),
        **_all(V, "--limit-modules --source --enable-native-access -d --describe-module"),
    },
    first="class",
    joined=False,
    loads=("-javaagent:", "-agentpath:", "-agentlib:", "-Xbootclasspath"),
)  # fmt: skip
_RUBY = Options(
    letters={"e": J, "r": L, **_all(V, "I C E X"), **_all(Does.REST, "F i K T W x"), "0": Does.DIGITS},
    words=_all(V, "--encoding --external-encoding --internal-encoding --enable --disable --dump --backtrace-limit --parser"),
)
_PERL = Options(
    letters={
        "e": J, "E": J, "I": V, **_all(Does.LOADS_REST, "M m d"), **_all(Does.REST, "i D F x V C"), "0": Does.DIGITS, "l": Does.DIGITS,
    },
)  # fmt: skip
_PHP = Options(
    letters={**_all(C, "r R B E"), **_all(Does.FILE, "f F"), **_all(L, "d z"), **_all(V, "c S t")},
    words={
        **_all(C, "--run --process-code --process-begin --process-end"),
        **_all(Does.FILE, "--file --process-file"),
        **_all(L, "--define --zend-extension"),
        **_all(V, "--php-ini --server --docroot --rf --rc --re --rz --ri"),
    },
)
_LUA = Options(letters={"e": Does.MAYBE_CODE, "l": L})
_R_OPTIONS = Options(
    letters={"e": J, "f": Does.FILE, "g": V, "d": V},
    words={"--file": Does.FILE, **_all(V, "--gui --debugger --encoding --arch")},
)
_DENO = Options(
    letters={"c": V, "L": V},
    words={
        **_all(V, "--config --import-map --lock --cert --log-level --location --seed --ext --env-file --port --host"),
        **_all(L, "--preload --require"),
    },
    first="subcommand",
)
_BUN = Options(
    letters={"e": C, "p": C, "r": L, "c": V},
    words={
        **_all(C, "--eval --print"),
        **_all(L, "--preload --require --import"),
        **_all(V, "--config --cwd --env-file --port --conditions --define --loader"),
    },
    first="subcommand",
)
_DOTNET = Options(
    words={
        **_all(V, "--fx-version --roll-forward --roll-forward-on-no-candidate-fx --depsfile --runtimeconfig"),
        **_all(L, "--additionalprobingpath --additional-deps"),
    },
    first="assembly",
    joined=False,
)
_MONO = Options(words=_all(V, "--config --assembly-loader"), joined=False)
_POWERSHELL = Options(
    words={
        **_all(Does.ALL_CODE, "-c -command"),
        **_all(C, "-e -ec -enc -encodedcommand"),
        **_all(Does.FILE, "-f -file"),
        **_all(V, "-ex -ep -executionpolicy -wd -workingdirectory -o -outputformat -inp -inputformat -w -windowstyle -v -version"),
        **_all(V, "-config -configurationname -configurationfile -settingsfile -settings -custompipename -psconsolefile"),
    },
    joined=False,
    folded=True,
)
_GUILE = Options(
    letters={"c": C, "s": Does.FILE, **_all(V, "e l L x C")},
    words=_all(V, "--listen --language"),
    joined=False,
    whole=True,
)

_ENV = Options(
    letters={**_all(V, "u C"), "S": Does.SPLIT},
    words={**_all(V, "--unset --chdir"), "--split-string": Does.SPLIT},
    first="command",
    assigns=True,
)
_SUDO = Options(
    letters=_all(V, "u g h p C r t T U D R a c"),
    words=_all(
        V, "--user --group --host --prompt --close-from --role --type --command-timeout --other-user --chdir --chroot --login-class"
    ),
    first="command",
    assigns=True,
)
_XARGS = Options(
    letters={**_all(V, "a d E I L n P s"), **_all(Does.REST, "e i l")},
    words=_all(V, "--arg-file --delimiter --max-args --max-procs --max-chars --process-slot-var"),
    first="command",
)
_PLAIN = Options(first="command")

_SHELLS = dict.fromkeys(
    ("sh", "ash", "bash", "rbash", "dash", "csh", "ksh", "rksh", "tcsh", "zsh", "mksh", "lksh", "pdksh", "posh", "yash"), _SHELL
)
_FISH = Options(
    letters={"c": J, "C": L, **_all(V, "o d D f p")}, words={"--command": J, "--init-command": L, **_all(V, "--features --debug")}
)
_JULIA = Options(
    letters={**_all(J, "e E"), "L": L, **_all(V, "J C p t H")},
    words={**_all(J, "--eval --print"), "--load": L, "--sysimage": V},
)
_LOADER = Options(
    words={
        **_all(L, "--preload --audit --library-path"),
        **_all(V, "--argv0 --inhibit-rpath --glibc-hwcaps-prepend --glibc-hwcaps-mask"),
    },
    first="command",
    joined=False,
)

FAMILIES: dict[str, Options] = {
    "python": _PYTHON, "pypy": _PYTHON, "jython": _PYTHON,
    "perl": _PERL, "ruby": _RUBY, "jruby": _RUBY, "php": _PHP, "lua": _LUA, "luajit": _LUA,
    "node": _NODE, "nodejs": _NODE, "deno": _DENO, "bun": _BUN,
    "java": _JAVA, "dotnet": _DOTNET, "mono": _MONO, "mono-sgen": _MONO,
    **_SHELLS,
    "fish": _FISH,
    "awk": _AWK, "gawk": _AWK, "mawk": _AWK, "nawk": _AWK,
    "rscript": Options(letters={"e": J}, words=_all(V, "--default-packages")), "r": _R_OPTIONS,
    "julia": _JULIA,
    "guile": _GUILE, "racket": Options(letters={"e": J, **_all(Does.FILE, "f t u r"), **_all(V, "l p I")}),
    "tclsh": Options(words=_all(V, "-encoding"), joined=False), "wish": Options(words=_all(V, "-encoding -display -name"), joined=False),
    "expect": Options(letters={"c": Does.MAYBE_CODE, "f": Does.FILE}), "osascript": Options(letters={"e": J, "l": V, "s": V}),
    "groovy": Options(letters={"e": C}, words=_all(V, "-cp -classpath --classpath -D --define -c --encoding")),
    "powershell": _POWERSHELL, "pwsh": _POWERSHELL,
    "env": _ENV, "sudo": _SUDO, "doas": Options(letters=_all(V, "u C a"), first="command"), "nohup": _PLAIN, "setsid": _PLAIN,
    "nice": Options(letters={"n": V}, words=_all(V, "--adjustment"), first="command"),
    "timeout": Options(letters=_all(V, "k s"), words=_all(V, "--kill-after --signal"), first="command_after_one"),
    "xargs": _XARGS,
    "ld": _LOADER,
}  # fmt: skip
"""Options by family (``model/programs.py``); families that are not here are known, but not what they run."""
