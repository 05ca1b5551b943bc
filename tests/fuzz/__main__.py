"""Fuzz one parser for some seconds: ``python -m fuzz TARGET SECONDS FOLDER``, in the folder above; needs atheris.

Inputs that led somewhere new are kept in FOLDER for the next time; one that failed is written there as ``crash-…``, ``timeout-…`` or
``oom-…``. It belongs into ``corpus`` once the fault is mended (called ``bad…`` if the parser is right to refuse it).
"""

import sys
from pathlib import Path

import atheris


def main() -> None:
    """Fuzz until the time is over; ends the process, with an exit code other than 0 for anything that failed."""
    name, seconds, folder = sys.argv[1:]
    with atheris.instrument_imports(include=["outwatch.net.protocols", "outwatch.intel.formats"]):
        from fuzz.targets import TARGETS
    target = TARGETS[name]

    def one(data: bytes) -> None:
        target(data)

    kept = Path(folder) / name
    kept.mkdir(parents=True, exist_ok=True)
    corpus = Path(__file__).parent / "corpus" / name
    options = [f"-max_total_time={seconds}", f"-artifact_prefix={folder}/", "-timeout=1", "-rss_limit_mb=1024", "-max_len=70000"]
    atheris.Setup([sys.argv[0], *options, "-print_final_stats=1", str(kept), str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
