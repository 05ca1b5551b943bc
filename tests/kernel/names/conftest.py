"""One lab with names and one watch, from within, for all tests of a file."""

from collections.abc import Iterator

import pytest

from integration.lab import Lab
from kernel.watch import Watch

from .names_lab import NamesLab, standing_names_lab


@pytest.fixture(scope="module")
def lab_with_names(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NamesLab]:
    yield from standing_names_lab(lab, tmp_path_factory.mktemp("names"))


@pytest.fixture(scope="module")
def watched(lab_with_names: NamesLab, tmp_path_factory: pytest.TempPathFactory) -> Watch:
    return lab_with_names.watch(tmp_path_factory.mktemp("watch"))


@pytest.fixture(autouse=True)
def unheard(request: pytest.FixtureRequest) -> None:
    """Let each test begin with nothing told: a pid that another one had may come back."""
    if "watched" in request.fixturenames:
        request.getfixturevalue("watched").forget()
