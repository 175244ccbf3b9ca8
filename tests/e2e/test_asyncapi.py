"""The document of a real project is valid for AsyncAPI's own parser, stands on the bus, and says the truth."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from fpbus.schemas import Role
from fpbus.schemas.verbs import VERBS
from support.device import Device
from support.stack import Stack
from support.waiting import wait_for

PARSER = Path(__file__).parents[2] / ".venv/node/node_modules/@asyncapi/parser"
CHECK = """
const { Parser } = require(process.argv[1]);
new Parser().parse(require('fs').readFileSync(0, 'utf8')).then(({ document, diagnostics }) => {
  const faults = diagnostics.filter((one) => one.severity < 2).map((one) => one.path.join('.') + ': ' + one.message);
  console.log(JSON.stringify({ valid: document !== undefined, faults }));
});
"""
MODULE = """
from datetime import datetime
import msgspec

class Piece(msgspec.Struct, tag="piece"):
    count: int = 1

class Weight(msgspec.Struct, tag="weight"):
    kg: float = 1.0

class Line(msgspec.Struct):
    article: str
    at: datetime | None = None
    amount: Piece | Weight | None = None

def total(lines: list[Line], pair: tuple[int, str] = (1, "")) -> int:
    return len(lines)
"""
TRIGGERS = "triggers:\n  - {topic: 'orders/{shop}/+', inputs: {lines: payload.lines}}\n  - {topic: 'bells/#'}\n"


@pytest.fixture
def shop(stack: Stack) -> Stack:
    stack.add_pipeline("orders", MODULE, TRIGGERS)
    return stack


@pytest.mark.skipif(not PARSER.is_dir() and "CI" not in os.environ, reason="`make test` installs it where npm is")
def test_the_official_parser_finds_nothing_wrong(shop: Stack) -> None:
    fpbus = [sys.executable, "-m", "fpbus", "asyncapi", "--base-dir", str(shop.project)]
    document = subprocess.run(fpbus, capture_output=True, check=True, timeout=60)

    check = ["node", "--eval", CHECK, str(PARSER)]
    parsed = subprocess.run(check, input=document.stdout, capture_output=True, check=False, timeout=60)

    assert json.loads(parsed.stdout or b"{}") == {"valid": True, "faults": []}, parsed.stderr.decode()[-2000:]


def test_it_stands_on_the_bus_and_what_is_said_there_is_as_it_says(shop: Stack, device: Device) -> None:
    shop.start()
    device.client.subscribe([("pipelines/#", 1), ("fpbus/asyncapi", 1)])
    document = wait_for(lambda: described(device, "orders.inputs"), 30, "the document with the schema of `orders`")
    schemas = {"components": document["components"]}

    device.run("orders", {"run_id": "one", "inputs": {"lines": [{"article": "pen"}]}})
    device.run("orders", {"run_id": "two", "inputs": {"lines": [{"article": 3}]}})

    device.wait_result("one")
    wait_for(device.rejections, 10, "the rejection")
    for name, ending in (("RunResult", "one/result"), ("RunStatus", "one/status"), ("Rejection", "orders/rejected")):
        heard = device.messages(ending=ending)
        assert heard
        for message in heard:
            Draft7Validator({"$ref": f"#/components/schemas/{name}", **schemas}).validate(message)
    said = Draft7Validator({**document["components"]["messages"]["result.orders"]["payload"], **schemas})
    said.validate(device.messages(ending="one/result")[-1])
    asked = Draft7Validator({**document["components"]["messages"]["run.orders"]["payload"], **schemas})
    assert asked.is_valid({"inputs": {"lines": [{"article": "pen"}]}})
    assert not asked.is_valid({"inputs": {"lines": [{"article": 3}]}})
    assert not asked.is_valid({})


def described(device: Device, schema: str) -> dict[str, Any]:
    documents = device.messages(ending="fpbus/asyncapi")
    return next((one for one in reversed(documents) if schema in one["components"]["schemas"]), {})


def test_every_call_that_it_names_is_answered_by_its_service(shop: Stack, device: Device) -> None:
    shop.start()
    topic = "fpbus/reply/somebody"
    device.client.subscribe(topic, 1)
    for role in (Role.DISPATCHER, Role.RUNNER, Role.RECORDER):
        device.publish(f"fpbus/call/{role}/nothing", {"reply_to": topic})

    replies = wait_for(lambda: (heard := device.messages(ending=topic))[2:] and heard, 20, "the replies")

    assert {one["service"]: one["error"]["hint"].split(", ") for one in replies} == {
        role: sorted(VERBS[role]) for role in (Role.DISPATCHER, Role.RUNNER, Role.RECORDER)
    }
