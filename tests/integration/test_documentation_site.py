"""The documentation as a site: ``make docs`` builds it, every page is reached from the first, and broken links end the build."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md") if page.name != "README.md")
# What a page loads by itself, unlike a link that is clicked.
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


@pytest.fixture(scope="module", autouse=True)
def _needed() -> None:
    pytest.importorskip("sphinx", reason="Sphinx is not installed")
    if shutil.which("make") is None:
        pytest.skip("make is not installed")


def _make_docs(folder: Path, docs: Path = DOCS) -> subprocess.CompletedProcess[str]:
    """Run ``make docs`` with this interpreter; the site is ``folder/site``."""
    ready = folder / "venv" / ".dev"  # newer than what it depends on: nothing is installed
    ready.parent.mkdir(parents=True, exist_ok=True)
    ready.touch()
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}  # of a make around this one
    settings = {"VENV": ready.parent, "BIN": Path(sys.executable).parent, "DOCS": docs, "SITE": folder / "site"}
    return subprocess.run(
        ["make", "--no-print-directory", "docs", *(f"{name}={value}" for name, value in settings.items())],
        cwd=ROOT, env={**env, "LC_ALL": "C.UTF-8"}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


class _Page(HTMLParser):
    """The places that a page leads to, its own anchors, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.loads: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value}
        if "id" in given:
            self.anchors.add(given["id"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in LOADED and LOADED[tag] in given and given.get("rel") not in {"canonical", "prev", "next", "index", "search"}:
            self.loads.append(given[LOADED[tag]])

    def inside(self) -> Iterator[tuple[Path, str]]:
        """Yield the files of the site that it leads to, with the anchor in each."""
        for link in self.links:
            parts = urlsplit(link)
            if not parts.scheme and not parts.netloc:
                target = (self.path.parent / unquote(parts.path)).resolve() if parts.path else self.path
                yield target, unquote(parts.fragment)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documentation").resolve()
    before = _files()
    done = _make_docs(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert _files() == before, "the build left something in the repository"
    return folder / "site"


def _files() -> set[str]:
    return {str(path) for path in DOCS.rglob("*") if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def reached(site: Path) -> dict[Path, _Page]:
    """Follow all links from the first page."""
    pages: dict[Path, _Page] = {}
    waiting = [site / "index.html"]
    while waiting:
        path = waiting.pop()
        if path not in pages and path.suffix == ".html":
            pages[path] = _Page(path)
            waiting += [target for target, _ in pages[path].inside()]
    return pages


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_reached_from_the_first(site: Path, reached: dict[Path, _Page], page: str) -> None:
    assert site / f"{page}.html" in reached


def test_every_link_of_the_site_leads_to_a_file_and_an_anchor_that_exist(reached: dict[Path, _Page]) -> None:
    broken = [
        f"{page.path.name}: {target}#{anchor}"
        for page in reached.values()
        for target, anchor in page.inside()
        if not target.exists() or (anchor and target in reached and anchor not in reached[target].anchors)
    ]
    assert not broken


def test_the_site_loads_nothing_from_elsewhere(reached: dict[Path, _Page]) -> None:
    elsewhere = {what for page in reached.values() for what in page.loads if "//" in what}
    assert not elsewhere


def test_the_pictures_of_the_workbook_are_shown(site: Path, reached: dict[Path, _Page]) -> None:
    shown = [what for what in reached[site / "howto" / "reading-the-report.html"].loads if what.endswith(".png")]
    assert [Path(what).name for what in shown if "workbook" in what] == ["workbook-summary.png", "workbook-connections.png"]


def test_the_built_site_is_ignored_by_git() -> None:
    assert re.search(r"^SITE := build/", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert "build/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()


MISTAKES = {
    "a page that does not exist": ("[x](no-such-page.md)", "no-such-page"),
    "an anchor that does not exist": ("[x](other.md#no-such-heading)", "no-such-heading"),
    "an anchor of its own page": ("[x](#no-such-heading)", "no-such-heading"),
    "a picture that does not exist": ("![x](no-such-picture.png)", "no-such-picture"),
    "code in no known language": ("```no-such-language\nx\n```", "no-such-language"),
}


def _small(folder: Path, text: str) -> Path:
    """Lay out a documentation of two pages with the real settings."""
    docs = folder / "docs"
    docs.mkdir()
    shutil.copy(DOCS / "conf.py", docs)
    (docs / "index.md").write_text(f"# First\n\n[good](other.md#a-heading)\n\n{text}\n\n```{{toctree}}\nother\n```\n")
    (docs / "other.md").write_text("# Other\n\n## A heading\n")
    return docs


def test_a_documentation_without_mistakes_is_built(tmp_path: Path) -> None:
    done = _make_docs(tmp_path, _small(tmp_path, "text"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_build_fails_for(tmp_path: Path, mistake: str) -> None:
    text, named = MISTAKES[mistake]
    done = _make_docs(tmp_path, _small(tmp_path, text))
    assert done.returncode != 0
    assert named in done.stderr


def test_the_build_fails_for_a_page_that_no_other_leads_to(tmp_path: Path) -> None:
    docs = _small(tmp_path, "text")
    (docs / "forgotten.md").write_text("# Forgotten\n")
    done = _make_docs(tmp_path, docs)
    assert done.returncode != 0
    assert "forgotten" in done.stderr
