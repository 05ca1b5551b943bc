"""What exists is documented: commands, options, settings, record keys, detectors; and what the documents point at exists."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from outwatch.app import ROOMS
from outwatch.cli import group
from outwatch.cli.group import outwatch
from outwatch.engine import registry
from outwatch.engine.config import Settings
from outwatch.lookups.reverse_names import ReverseNamesConfig, asking
from outwatch.model.records import Connection, EventsLost, Question, Summary
from outwatch.reputation.settings import ProviderConfig
from outwatch.views.report import DEFAULT_NAME, FORMS, workbook
from outwatch.views.report.columns import COLUMNS
from outwatch.views.report.wireshark import display_filter

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").glob("*.md")])


def _text(name: str) -> str:
    return (ROOT / "docs" / "reference" / name).read_text("utf-8")


def _commands(group: click.Group, parent: click.Context) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=parent)
        if isinstance(command, click.Group):
            yield from _commands(command, context)
        else:
            yield context.command_path, command


COMMANDS = dict(_commands(outwatch, click.Context(outwatch, info_name="outwatch")))


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_is_in_the_reference(path: str) -> None:
    assert re.search(rf"`{re.escape(path)}[ `]", _text("commands.md"))


@pytest.mark.parametrize("path", COMMANDS)
def test_every_option_is_in_the_reference_and_says_what_it_is_for(path: str) -> None:
    for parameter in COMMANDS[path].params:
        if isinstance(parameter, click.Option):
            longest = max(parameter.opts, key=len)
            assert re.search(rf"`{re.escape(longest)}[ `]", _text("commands.md")), longest
            assert parameter.help, longest


def _settings() -> Iterator[str]:
    rooms = set(ROOMS)
    for field in msgspec.structs.fields(Settings):
        if field.name in rooms:
            continue
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from (f"{field.name}.{inner.name}" for inner in msgspec.structs.fields(field.type))
        else:
            yield field.name
    for room in ROOMS:
        for part in registry.parts(room, lambda name, error: pytest.fail(f"{name}: {error}")):
            table = f"{room}.{part.name}"
            for field in msgspec.structs.fields(part.config):
                shared = room == "reputation" and field.name in {one.name for one in msgspec.structs.fields(ProviderConfig)}
                yield f"{room}.NAME.{field.name}" if shared else f"{table}.{field.name}"


def test_every_reputation_service_has_its_table_in_the_reference() -> None:
    for part in registry.parts("reputation", lambda name, error: pytest.fail(f"{name}: {error}")):
        assert f"`[reputation.{part.name}]`" in _text("configuration.md")


@pytest.mark.parametrize("key", sorted(set(_settings())))
def test_every_setting_is_in_the_reference(key: str) -> None:
    assert f"`{key}`" in _text("detectors.md" if key.startswith("detectors.") else "configuration.md")


def _keys(kind: Any, prefix: str = "") -> Iterator[str]:
    for field in msgspec.inspect.type_info(kind).fields:  # type: ignore[attr-defined]
        path = f"{prefix}{field.encode_name}"
        types = field.type.types if isinstance(field.type, msgspec.inspect.UnionType) else (field.type,)
        inner = next((one.cls for one in types if isinstance(one, msgspec.inspect.StructType)), None)
        if inner is None or path in {"process.parent", "outwatch.attribution"}:
            yield path
        else:
            yield from _keys(inner, f"{path}.")


@pytest.mark.parametrize("key", sorted({key for kind in (Connection, Question, EventsLost, Summary) for key in _keys(kind)}))
def test_every_key_of_a_record_is_in_the_reference(key: str) -> None:
    assert re.search(rf"`{re.escape(key)}`", _text("records.md")), key


def _table(document: str, chapter: str) -> list[str]:
    """Give the first cells of the table of a chapter, without their backquotes."""
    text = re.search(rf"^## {chapter}\n(.*?)(?=^## |\Z)", _text(document), re.MULTILINE | re.DOTALL)
    assert text is not None, chapter
    cells = re.findall(r"^\| *([^|]+?) *\|", text[1], re.MULTILINE)
    return [cell.strip("`") for cell in cells[2:]]


def test_the_columns_of_a_report_are_in_the_reference_in_their_order() -> None:
    assert _table("report.md", "Columns") == [column.heading for column in COLUMNS]


def test_the_sheets_of_a_report_are_in_the_reference_in_their_order() -> None:
    assert _table("report.md", "Sheets") == list(workbook.SHEETS)


def test_the_forms_of_a_report_are_in_the_reference() -> None:
    assert _table("report.md", "Forms") == list(FORMS)
    assert f"`{DEFAULT_NAME}`" in _text("report.md")


@pytest.mark.parametrize(
    ("sheet", "headings"),
    [
        ("Processes", workbook._PROCESSES),
        ("Destinations", workbook._DESTINATIONS),
        ("Not Checked", workbook._NOT_CHECKED),
    ],
)
def test_the_columns_of_the_other_sheets_are_in_the_reference(sheet: str, headings: tuple[Any, ...]) -> None:
    flowing = " ".join(_text("report.md").split())
    assert f"Columns of {sheet}: {', '.join(heading.text for heading in headings)}." in flowing


def test_every_exit_code_is_in_the_reference() -> None:
    codes = {group.DONE, group.FAILED, group.USAGE, group.FINDINGS, group.INCOMPLETE, group.INTERRUPTED}
    assert {int(code) for code in _table("commands.md", "Exit codes")} == codes


def test_the_filter_that_is_shown_is_one_that_a_report_holds() -> None:
    text = (ROOT / "docs" / "howto" / "reading-the-report.md").read_text("utf-8")
    assert f"'{display_filter('203.0.113.5', 443, 'tcp')}'" in text


def test_the_limits_of_reverse_names_are_told_as_they_are() -> None:
    limits = ReverseNamesConfig()
    text = (ROOT / "docs" / "howto" / "reverse-names.md").read_text("utf-8")
    assert limits.seconds == 2.0
    assert f"two seconds for an address, {limits.at_once} at once, answers of at most {asking._LARGEST:,} bytes" in text
    assert f"| `lookups.reverse_names.at_once` | `{limits.at_once}` |" in _text("configuration.md")


def _typed() -> Iterator[tuple[str, str]]:
    """Yield what documents tell readers to type after ``outwatch``, up to the end of that command, and where it stands."""
    for document in DOCUMENTS:
        text = document.read_text("utf-8").replace("\\\n", " ")
        blocks = re.findall(r"^```(?:console|text)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
        for code in (*blocks, *spans):
            for rest in re.findall(r"(?:^|[ /])outwatch ([a-z-][^|;&>\n]*)", code, re.MULTILINE):
                yield rest.rstrip(" \\"), document.name


@pytest.mark.parametrize(("typed", "document"), sorted(set(_typed())))
def test_every_command_that_a_document_shows_is_one_that_outwatch_takes(typed: str, document: str) -> None:
    words = [word for word in shlex.split(typed, comments=True) if word not in {"--help", "--version"}]
    command: click.Command = outwatch
    context = click.Context(outwatch, info_name="outwatch")
    while words and isinstance(command, click.Group):
        name = words.pop(0)
        known = command.get_command(context, name)
        assert known is not None, f"{document}: no command {name}"
        command, context = known, click.Context(known, info_name=name, parent=context)
    command.make_parser(context).parse_args(words)  # raises for an option that does not exist


def test_the_documents_show_commands() -> None:
    assert len(set(_typed())) >= 20


def test_every_detector_has_a_chapter() -> None:
    chapters = re.findall(r"^## `(\w+)`", _text("detectors.md"), re.MULTILINE)
    assert sorted(chapters) == registry.names("detectors")


def test_the_manual_page_is_what_the_command_tree_gives() -> None:
    spec = importlib.util.spec_from_file_location("manual", ROOT / "packaging" / "manual.py")
    assert spec is not None
    assert spec.loader is not None
    manual = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(manual)
    assert (ROOT / "packaging" / "man" / "outwatch.1").read_text("utf-8") == manual.page(), "run make man"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text("utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), target


def test_the_first_two_commands_of_the_readme_set_everything_up() -> None:
    commands = re.findall(r"^\$ (.+)$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert [command.split("#")[0].strip() for command in commands[:2]] == ["make run", "make test"]


def test_locked_requirements_have_checksums_and_name_no_index() -> None:
    for name in ("run.txt", "dev.txt"):
        text = (ROOT / "requirements" / name).read_text("utf-8")
        assert "://" not in text
        assert not re.search(r"^--?(index|extra|find)", text, re.MULTILINE)
        pinned = re.findall(r"^(\S+==\S+)(.*?)(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
        assert pinned
        assert all("--hash=sha256:" in rest for _, rest in pinned)
