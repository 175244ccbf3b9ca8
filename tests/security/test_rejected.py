"""A message that is rejected makes the dispatcher import, open, spawn and connect nothing."""

import json
import pickle
from pathlib import Path
from typing import Any

from paho.mqtt.enums import MQTTProtocolVersion

from support.audit import Audit
from support.device import Device
from support.servers import Broker
from support.stack import Stack
from support.waiting import wait_for

TRIGGERS = """
triggers:
  - topic: plain/{device}
    when: payload.x >= 0
    inputs: {x: payload.x}
    key: captures.device
  - topic: packed/{device}
    format: msgpack
    inputs: {x: payload.x}
  - topic: read/{device}
    format: readings.sensor
    inputs: {x: payload.x}
"""

CODECS_PY = '''
"""Reads `x=1`."""


def sensor(payload: bytes) -> dict[str, int]:
    name, _, value = payload.decode("ascii").partition("=")
    return {name: int(value)}
'''

EVENT = {"specversion": "1.0", "id": "1", "source": "/a", "type": "t", "data": {"inputs": {"x": 1}}}


class _Opens:
    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, ("/tmp/pickled", "w")  # noqa: S108 (never to be made)


def _body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


#: Topic and payload; each is rejected.
HOSTILE: list[tuple[str, bytes]] = [
    *(
        ("pipelines/add/run", payload)
        for payload in (
            b"{",
            b"\xff\xfe\x00",
            b"null",
            b'{"inputs": {"x": NaN}}',
            b'{"inputs": {"x": 1e99999}, "priority": 7}',
            b'{"inputs": {"x": ' + b"9" * 5000 + b"}}",
            b'{"inputs": {"x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}}",
            b"!!python/object/apply:os.system ['true']",
            b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
            pickle.dumps(_Opens()),
            pickle.dumps(_Opens(), 0),
            _body(inptus={"x": 1}),
            _body(__class__="os.system", __reduce__=["open"]),
            _body(inputs={}, final_vars="__import__('os')"),
            _body(inputs={}, executor={"type": "../../evil"}),
            _body(inputs={}, executor={"type": "os.system"}),
            _body(inputs={}, adapter={"module": "this"}),
            _body(inputs={}, config="../../../etc/passwd"),
            _body(inputs={}, log_level="/etc/passwd"),
            _body(inputs={}, reply_to="$SYS/broker"),
            _body(inputs={}, reply_to="pipelines/add/run"),
            _body(run_id="../../etc/passwd"),
            _body(run_id="a/b", inputs={}),
            _body(run_id="\x1b[2J"),
            _body(run_id="x" * 10_000),
            _body(queue="../other"),
            _body(expires_at="2020-01-01T00:00:00Z"),
            _body(not_before="9999-12-31T23:59:59-12:00"),
            _body(type="run_result"),
            _body(**EVENT | {"specversion": "9.9"}),
            _body(**EVENT | {"id": 5}),
            _body(**EVENT | {"datacontenttype": "application/x-python-pickle", "data": "gASVLg=="}),
            _body(**EVENT | {"dataschema": "http://127.0.0.1:9/schema", "data": [1]}),
            _body(**EVENT | {"data_base64": "!!!", "data": None}),
        )
    ),
    *(
        (f"pipelines/{name}/run", b"{}")
        for name in (
            "..",
            "os",
            "os.path",
            "add.py",
            "add%2f..",
            "__main__",
            "subprocess",
            "%00",
            "C:",
            "~root",
            "x" * 900,
        )
    ),
    ("plain/a", b"{"),
    ("plain/a", b'{"x": "__import__(\\"os\\").system(\\"true\\")"}'),
    ("plain/a", b'{"x": {"__class__": {"__mro__": 1}}}'),
    ("plain/a", b'{"x": [[[]]]}'),
    ("packed/a", b"\xc1"),
    ("packed/a", b"\xc7\x10\x01" + b"a" * 16),
    ("packed/a", pickle.dumps(_Opens())),
    ("read/a", b"x=__import__('os')"),
    ("read/a", b"\xff" * 100),
    ("read/a", pickle.dumps(_Opens())),
]


def test_a_rejected_message_imports_opens_spawns_and_connects_nothing(
    tmp_path: Path, stack: Stack, device: Device, mosquitto: Broker
) -> None:
    audit = Audit(tmp_path / "audit")
    stack.environment |= audit.environment
    path = stack.project / "conf" / "pipelines" / "add.yml"
    path.write_text(path.read_text() + TRIGGERS)
    (stack.project / "readings.py").write_text(CODECS_PY)
    stack.start("dispatcher")
    dispatcher = stack.processes["dispatcher"].pid
    devices = (device, Device(mosquitto.url, protocol=MQTTProtocolVersion.MQTTv5))

    def send(messages: list[tuple[str, bytes]]) -> None:
        """Publish from both devices, and wait for a rejection of each."""
        heard = len(device.rejections()) + len(devices) * len(messages)
        for each in devices:
            for topic, payload in messages:
                each.publish(topic, payload)
        wait_for(lambda: len(device.rejections()) >= heard, 60, f"{heard} rejections of {len(messages)} messages")
        assert len(device.rejections()) == heard

    # The first good message, and the first bad one of each way in, may load what all of their kind need.
    device.run("add", {"run_id": "good", "inputs": {"x": 1}})
    for topic, payload in (("plain/a", b'{"x": 1}'), ("packed/a", b"\x81\xa1x\x01"), ("read/a", b"x=1")):
        device.publish(topic, payload)
    wait_for(lambda: len(device.messages(ending="/status")) >= 4, 30, "four good messages")
    send([("pipelines/add/run", b"["), ("plain/a", b"["), ("packed/a", b""), ("read/a", b"nothing")])
    before, processes = audit.events(dispatcher), audit.processes()

    send(HOSTILE)

    assert any(event.startswith("import ") for event in before), "the hook is at work"
    usual = set(before)
    assert [event for event in audit.events(dispatcher)[len(before) :] if event not in usual] == []
    assert audit.processes() == processes
    devices[1].close()
