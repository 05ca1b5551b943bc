"""What fuzzing was given to start from, and what it once found, is read without a fault."""

from pathlib import Path

import pytest

from .targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
FILES = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


@pytest.mark.security
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_kept_input_is_read_as_its_name_says(path: Path) -> None:
    assert TARGETS[path.parent.name](path.read_bytes()) is not path.name.startswith("bad")


def test_every_target_has_something_to_start_from() -> None:
    assert {path.parent.name for path in FILES if not path.name.startswith("bad")} == set(TARGETS)
