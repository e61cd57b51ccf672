"""The demo's topology files: everything that they point at is there."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import jsonschema
import pytest
import yaml

from tests.unit.demo.rehearsal import TOPOLOGIES, FakeContext, FakeEvent


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((TOPOLOGIES / name).read_text())
    return found


@pytest.mark.parametrize("name", ["flights.yaml", "quickstart.yaml"])
def test_handlers_and_schemas_are_there(name: str, schemas: dict[str, Any]) -> None:
    topology = load(name)
    for processor in topology["processors"].values():
        assert processor["stream"] in topology["streams"]
        module, _, attribute = processor["handler"].partition(":")
        assert len(inspect.signature(getattr(importlib.import_module(module), attribute)).parameters) == 2
    for stream in topology["streams"].values():
        schema = stream["schema"]
        if isinstance(schema, str):
            path = (TOPOLOGIES / schema).resolve()
            assert path.is_file()
            schema = schemas[path.stem]
        jsonschema.Draft202012Validator.check_schema(schema)
        assert stream["key"] in schema["required"]  # every record that fits has its routing key


def test_quickstart_prints_and_counts(capsys: pytest.CaptureFixture[str]) -> None:
    from quickstart.handlers import show

    order, ctx = {"user": "ada", "item": "tea"}, FakeContext({})
    jsonschema.validate(order, load("quickstart.yaml")["streams"]["orders"]["schema"])
    show(FakeEvent(order, "ada"), ctx)  # type: ignore[arg-type]
    show(FakeEvent(order | {"quantity": 2}, "ada"), ctx)  # type: ignore[arg-type]
    assert capsys.readouterr().out == "ada wants 1 x tea (order 1)\nada wants 2 x tea (order 2)\n"
