"""The command line. ``main`` is the entry point; nothing heavy is imported before it is known what is wanted."""

import sys


def main() -> None:
    """Run ``outwatch`` with the arguments of this process and exit with its code."""
    from outwatch.cli.group import run  # noqa: PLC0415 - so that importing the package costs nothing

    sys.exit(run(sys.argv[1:]))
