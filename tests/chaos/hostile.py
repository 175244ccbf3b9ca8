"""Messages that no publisher should send, one after another from one random generator."""

import json
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

RUN = "pipelines/task/run"


class Hostile(NamedTuple):
    topic: str
    payload: bytes
    properties: dict[str, Any]


Make = Callable[[Random], Hostile]


def hostile(chance: Random) -> Hostile:
    """Return something bad that a broker still delivers. No two of its pieces are alike."""
    return chance.choice(KINDS)(chance)


def _at_run(payload: bytes, **properties: Any) -> Hostile:
    return Hostile(RUN, payload, properties)


def _request(**fields: Any) -> Hostile:
    return _at_run(json.dumps(fields).encode())


def _noise(chance: Random) -> Hostile:
    return _at_run(chance.randbytes(chance.randrange(1, 4000)))


def _cut_short(chance: Random) -> Hostile:
    whole = json.dumps({"inputs": {"x": 1, "text": "ü" * chance.randrange(50)}}, ensure_ascii=False).encode()
    return _at_run(whole[: chance.randrange(1, len(whole) - 1)])


def _wrong_type(chance: Random) -> Hostile:
    wrong = chance.choice([7, [1], "text", True, {"a": {}}, 1e308])
    return _request(**{chance.choice(["final_vars", "priority", "not_before", "reply_to", "key"]): {"it is": wrong}})


def _unknown_field(chance: Random) -> Hostile:
    return _request(**{f"field{chance.randrange(10**9)}": 1, "__class__": "os.system", "inputs": {"x": 1}})


def _deep(chance: Random) -> Hostile:
    levels = chance.choice([65, 500, 5_000, 100_000])
    left, right = chance.choice([(b"[", b"]"), (b'{"a":', b"}")])
    return _at_run(b'{"inputs":{"x":' + left * levels + b"1" + right * levels + b"}}")


def _big(chance: Random) -> Hostile:
    return _at_run(b'{"inputs":{"x":"' + b"a" * (1024 * 1024 + chance.randrange(10_000)) + b'"}}')


def _number(chance: Random) -> Hostile:
    text = chance.choice(["NaN", "-Infinity", "1e999", "9" * 5000, "0x10", "1_000", "-" + "0" * 300])
    return _at_run(f'{{"inputs":{{"x":{text}}}}}'.encode())


def _surrogate(chance: Random) -> Hostile:
    return _at_run(b'{"run_id":"\\ud800' + str(chance.random()).encode() + b'"}')


def _override(chance: Random) -> Hostile:
    fields = {"executor": "ray", "config": {"a": 1}, "with_adapter": {}, "timeout_s": 9, "retry_exceptions": ["os"]}
    name = chance.choice(list(fields))
    return _request(**{name: fields[name], "inputs": {"x": chance.random()}})


def _expired(chance: Random) -> Hostile:
    return _request(expires_at=f"20{chance.randrange(10, 20)}-01-01T00:00:00Z")


def _loop(chance: Random) -> Hostile:
    return _request(reply_to=chance.choice([RUN, "$SYS/x", "fpbus/call/dispatcher/submit", "a/#", "pipelines/+/run"]))


def _strange_id(chance: Random) -> Hostile:
    return _request(run_id=chance.choice(["../x", "#", "", "a" * 65, "line\n", "\u202egnp", "a b"]), inputs={"x": 1})


def _strange_name(chance: Random) -> Hostile:
    names = ["../../etc/passwd", "%2e%2e%2f", "", " ", "Work", "\u202ekrow", "e\u0301", "🌡", "a\\b", "x" * 30_000]
    return Hostile(f"pipelines/{chance.choice(names)}/run", b"{}", {})


def _nobody(chance: Random) -> Hostile:
    return Hostile(f"pipelines/nobody{chance.randrange(10**9)}/run", b"{}", {})


def _deeper_topic(chance: Random) -> Hostile:
    return Hostile(f"pipelines/{'/'.join(['deep'] * chance.randrange(2, 20))}/run", b"{}", {})


def _message_pack(chance: Random) -> Hostile:
    return _at_run(chance.randbytes(200), ContentType="application/msgpack")


def _said_to_be_something_else(chance: Random) -> Hostile:
    return _at_run(
        chance.randbytes(200), ContentType=chance.choice(["application/x-python-pickle", "\u202e", "a" * 999])
    )


def _cloud_event(chance: Random) -> Hostile:
    event = {"specversion": chance.choice(["1.0", "9.9", 1]), "id": chance.random(), "source": None, "data": "x"}
    return _at_run(json.dumps(event).encode(), ContentType="application/cloudevents+json")


def _pickle(chance: Random) -> Hostile:
    return _at_run(b"\x80\x04\x95cposix\nsystem\n(S'touch /tmp/never'\ntR." + chance.randbytes(5))


def _fake_call(chance: Random) -> Hostile:
    verb = chance.choice(["submit", "cancel", "list_jobs", "nothing", "x" * 500])
    return Hostile(f"fpbus/call/dispatcher/{verb}", chance.randbytes(chance.randrange(300)), {})


def _fake_receipt(chance: Random) -> Hostile:
    return Hostile(chance.choice(["fpbus/recorded", "fpbus/services/dispatcher/x/status"]), chance.randbytes(100), {})


def _fake_event(chance: Random) -> Hostile:
    ending = chance.choice(["status", "result", "log", "nodes/answer"])
    return Hostile(f"pipelines/task/runs/h{chance.randrange(10**9)}/{ending}", chance.randbytes(100), {})


KINDS: tuple[Make, ...] = (
    _noise,
    _cut_short,
    _wrong_type,
    _unknown_field,
    _deep,
    _big,
    _number,
    _surrogate,
    _override,
    _expired,
    _loop,
    _strange_id,
    _strange_name,
    _nobody,
    _deeper_topic,
    _message_pack,
    _said_to_be_something_else,
    _cloud_event,
    _pickle,
    _fake_call,
    _fake_receipt,
    _fake_event,
)
