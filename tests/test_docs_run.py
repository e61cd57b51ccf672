"""What the documents show works: topologies load, Python compiles, the tour of the README does what it says there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import runnelctl
from runnelctl import topology
from tests.process import ups

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SCRIPTS = {path.stem for path in (ROOT / "runnelctl" / "store" / "lua").glob("*.lua")}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def topologies(page: Path) -> list[str]:
    return [block for block in blocks(page, "ya?ml") if re.search(r"^name:", block, re.M) and "streams:" in block]


def name(page: Path) -> str:
    return page.name


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_on_a_page_compiles(page: Path) -> None:
    for number, block in enumerate(blocks(page, "python")):
        compile(block, f"{page.name}#{number}", "exec")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_topologies_on_a_page_load(page: Path, tmp_path: Path) -> None:
    """With the schema files that the same page shows."""
    text = page.read_text(encoding="utf-8")
    for path, schema in re.findall(r"`([\w/]+\.json)`:\n\n```json\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(schema)
    for number, block in enumerate(topologies(page)):
        file = tmp_path / f"{number}.yaml"
        file.write_text(block)
        assert topology.load(file).processors


def test_every_script_is_explained() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z_]+)` \|", text, re.M)) >= SCRIPTS


def test_tests_that_the_readme_names_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_[a-z_]+)`", text))
    assert named, "this test does not see the README's tests any more"
    assert not {each for each in named if f"def {each}(" not in sources}


@pytest.mark.process
def test_the_tour_does_what_the_readme_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNNELCTL_DIR", raising=False)
    readme = ROOT / "README.md"
    (tmp_path / "topology.yaml").write_text(topologies(readme)[0])
    (tmp_path / "shop.py").write_text(blocks(readme, "python")[0])
    assert ups.command(tmp_path, "check").returncode == 0
    orders = [("ada", 300), ("bob", 120), ("ada", 50), ("ada", -5), ("ada", 1000), ("bob", 80)]
    records = [json.dumps({"user_id": user, "cents": cents}) for user, cents in orders]
    assert ups.command(tmp_path, "send", "orders", *records).returncode == 0
    refused = ups.command(tmp_path, "send", "orders", '{"user_id": "ada", "cents": "300"}')
    assert (refused.returncode, "is not of type" in refused.stderr) == (1, True)
    drained = ups.command(tmp_path, "up", "--drain")
    assert drained.returncode == 1, drained.stderr
    assert "cannot charge -5 cents" in ups.command(tmp_path, "status", "--check").stdout
    monkeypatch.setenv("EDITOR", "sed -i s/-5/5/")
    mended = ups.command(tmp_path, "replay", "billing:0", "--edit", "--yes", "--reason", "sign slipped")
    assert mended.returncode == 0, mended.stderr
    monkeypatch.setenv("RUNNELCTL_DIR", str(tmp_path))
    with runnelctl.connect_sync(tmp_path / "topology.yaml") as client:
        assert [client.state("billing", user) for user in ("ada", "bob")] == [{"cents": 1355}, {"cents": 200}]
