"""Let ``python -m outwatch`` do what the ``outwatch`` command does."""

from outwatch.cli import main

if __name__ == "__main__":
    main()
