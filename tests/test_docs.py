"""What the documents say exists, and what exists is in the documents."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

import runnelctl
from runnelctl import errors, topology
from runnelctl.cli import main

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "topologies").rglob("*.md")]
    if path.name != "CHANGELOG.md"
)
#: Options in prose that are not runnelctl's.
FOREIGN = {"--python", "--nemesis", "--sound", "--batch"}
#: What code and documents call `runnelctl` that is no command.
NOT_COMMANDS = {"command", "import", "is", "and", "with", "itself"}


def reference_maker() -> ModuleType:
    """docs/make_reference.py, which is a script and no part of a package."""
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


MAKER = reference_maker()
COMMANDS: dict[str, click.Command] = MAKER.commands()


def flags(command: click.Command) -> set[str]:
    options = [each for each in command.params if isinstance(each, click.Option)]
    return {flag for each in options for flag in (*each.opts, *each.secondary_opts)} | {"--help", "-h"}


def page_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def code_of(path: Path) -> str:
    """Every piece of code of a page: fenced, indented or between backticks; a line ended by a backslash goes on."""
    text = path.read_text(encoding="utf-8")
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    indented = re.findall(r"^(?: {4}|\t)(.+)$", prose, re.MULTILINE)
    inline = re.findall(r"`([^`\n]+)`", prose)
    return "\n".join([*fenced, *indented, *inline]).replace("\\\n", " ")


def test_the_reference_is_what_the_code_says() -> None:
    assert MAKER.run(["--check"]) == 0, "docs/reference.md is not up to date: run `python docs/make_reference.py`"


def test_every_command_is_in_the_reference() -> None:
    for name, command in COMMANDS.items():
        section = re.search(rf"^### {name}\n(.*?)(?=^### |<!-- )", REFERENCE, re.DOTALL | re.MULTILINE)
        assert section, f"docs/reference.md has no section for `{name}`"
        missing = {flag for flag in flags(command) - {"--help", "-h"} if not re.search(rf"`{flag}[` ]", section[1])}
        assert not missing, f"docs/reference.md says nothing of `{name} {' '.join(missing)}`"


def test_every_topology_key_is_in_the_reference() -> None:
    schema = json.loads(topology.text_of_schema())
    for path, title, _, description in MAKER.topology_keys(schema):
        assert f"| `{path}` |" in REFERENCE
        assert title and description, f"the topology's JSON Schema does not describe {path}"


def test_every_exit_code_is_in_the_reference() -> None:
    for name, code in vars(errors).items():
        if name.startswith("EXIT_"):
            assert re.search(rf"^\| {code} \|", REFERENCE, re.MULTILINE), f"{name} = {code} is not in the reference"


def test_every_variable_is_in_the_reference_and_the_other_way_round() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "runnelctl").rglob("*.py"))
    read = set(re.findall(r"[\"'](RUNNELCTL_[A-Z_]+[A-Z])[\"']", source))
    read |= {main.variable(name, option) for name, option in _options()} & set(
        re.findall(r"RUNNELCTL_[A-Z_]+", REFERENCE)
    )
    assert read == set(re.findall(r"RUNNELCTL_[A-Z_]+[A-Z]", REFERENCE))


def _options() -> Iterator[tuple[str, click.Option]]:
    for name, command in COMMANDS.items():
        for option in command.params:
            if isinstance(option, click.Option):
                yield name, option


@pytest.mark.parametrize("kind", ["HostStatus", "PartitionStatus"])
def test_every_field_of_status_is_in_the_reference(kind: str) -> None:
    status = importlib.import_module("runnelctl.core.status")
    fields = {field.name for field in dataclasses.fields(getattr(status, kind))} - {"processor"}
    section = REFERENCE.partition("## Status as JSON")[2].partition("### Failure records")[0]
    missing = {field for field in fields if f"`{field}`" not in section}
    assert not missing, f"docs/reference.md says nothing of {missing} in `status --json`"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_commands_on_a_page_exist(page: Path) -> None:
    for called, rest in re.findall(r"(?<![\w/.-])(?:\.venv/bin/)?runnelctl ([a-z]+)([^\n|;&#]*)", code_of(page)):
        if called in NOT_COMMANDS:
            continue
        assert called in main.COMMANDS, f"{page_name(page)}: there is no `runnelctl {called}`"
        used = set(re.findall(r"(?<![\w=-])(--?[a-z][a-z-]*)", re.sub(r"'[^']*'|\"[^\"]*\"", "", rest)))
        unknown = used - flags(COMMANDS[called])
        assert not unknown, f"{page_name(page)}: `runnelctl {called}` has no {', '.join(sorted(unknown))}"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_options_on_a_page_exist(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    unknown = set(re.findall(r"`(--[a-z][a-z-]*)", prose))
    unknown -= FOREIGN.union({"--version"}, *(flags(command) for command in COMMANDS.values()))
    assert not unknown, f"{page_name(page)}: no command has {unknown}"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_topologies_on_a_page_are_taken(page: Path, tmp_path: Path) -> None:
    """A block of YAML with a name and streams is a topology file: every key of it must be one that there is."""
    for number, block in enumerate(re.findall(r"^```ya?ml\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)):
        if re.search(r"^name:", block, re.MULTILINE) and re.search(r"^streams:", block, re.MULTILINE):
            file = tmp_path / f"{number}.yaml"
            file.write_text(block)
            problems = [str(each) for each in topology.examine(file, environ={}).problems]
            wrong = [text for text in problems if "cannot read" not in text and "no such schema file" not in text]
            assert not wrong, f"{page_name(page)}: {wrong}"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_names_of_the_package_on_a_page_exist(page: Path) -> None:
    code = code_of(page)
    names = set(re.findall(r"\brunnelctl\.([A-Za-z_]+)\(", code))
    for imported in re.findall(r"from runnelctl import ([\w, ]+)", code):
        names |= {name.strip() for name in imported.split(",")}
    unknown = names - {*runnelctl.__all__}
    assert not unknown, f"{page_name(page)}: runnelctl has no {', '.join(sorted(unknown))}"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        other = (page.parent / file) if file else page
        assert other.exists(), f"{page_name(page)}: {target} leads nowhere"
        if anchor:
            assert anchor in _anchors(other), f"{page_name(page)}: {target} leads nowhere"


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_tests_that_a_page_names_are_there() -> None:
    """A row of a table names a test by its file and `test_…`: both exist."""
    for page in PAGES:
        for link, names in re.findall(r"\]\((\S*?test_\w+\.py)\)((?:,? `test_\w+`)+)", page.read_text("utf-8")):
            source = (page.parent / link).read_text("utf-8")
            for name in re.findall(r"`(test_\w+)`", names):
                assert f"def {name}(" in source, f"{page_name(page)}: {link} has no {name}"
