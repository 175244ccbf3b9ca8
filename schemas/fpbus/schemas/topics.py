"""Every topic of the contract, in one place. The root prefix is the bus' business, not ours."""

from typing import Final

RUN: Final = "pipelines/+/run"
STATUS: Final = "pipelines/+/runs/+/status"
RESULT: Final = "pipelines/+/runs/+/result"
RECORDED: Final = "fpbus/recorded"
REJECTED: Final = "fpbus/rejected"
PRESSURE: Final = "fpbus/pressure"
ASYNCAPI: Final = "fpbus/asyncapi"
PRESENCE: Final = "fpbus/services/+/+/status"

_SPOKEN: Final = (["runs"], ["latest"], ["schema"], ["rejected"])

#: A name with slashes in it makes a deeper topic, which `RUN` does not see. These filters do, so that
#: `pipelines/../../etc/passwd/run` is refused in words instead of vanishing.
DEEPER_RUNS: Final = tuple(f"pipelines/{'+/' * depth}run" for depth in range(2, 17))


def run(pipeline: str) -> str:
    return f"pipelines/{pipeline}/run"


def status(pipeline: str, run_id: str) -> str:
    return f"pipelines/{pipeline}/runs/{run_id}/status"


def result(pipeline: str, run_id: str) -> str:
    return f"pipelines/{pipeline}/runs/{run_id}/result"


def node(pipeline: str, run_id: str, node_name: str) -> str:
    return f"pipelines/{pipeline}/runs/{run_id}/nodes/{node_name}"


def log(pipeline: str, run_id: str) -> str:
    return f"pipelines/{pipeline}/runs/{run_id}/log"


def of_run(run_id: str, pipeline: str = "+") -> str:
    """Filter for everything that is said about one run."""
    return f"pipelines/{pipeline}/runs/{run_id}/#"


def latest(pipeline: str) -> str:
    return f"pipelines/{pipeline}/latest"


def schema(pipeline: str) -> str:
    return f"pipelines/{pipeline}/schema"


def rejected(pipeline: str) -> str:
    return f"pipelines/{pipeline}/rejected"


def presence(role: str, instance: str) -> str:
    return f"fpbus/services/{role}/{instance}/status"


def call(service: str, verb: str) -> str:
    return f"fpbus/call/{service}/{verb}"


def calls_to(service: str) -> str:
    return f"fpbus/call/{service}/+"


def reply(client_id: str) -> str:
    return f"fpbus/reply/{client_id}"


def trial(name: str) -> str:
    """Where `fpbus doctor` tries what a broker does."""
    return f"fpbus/doctor/{name}"


def pipeline_of_run_topic(topic: str) -> str | None:
    """The name between `pipelines/` and `/run`, slashes and all; None where the topic is one of our own events."""
    rest = topic.removeprefix("pipelines/")
    if rest == topic or not rest.endswith("/run"):
        return None
    name = rest.removesuffix("/run")
    parts = name.split("/")
    ours = len(parts) == 4 and parts[1] == "runs" and parts[3] == "nodes"  # a node called `run`
    return None if ours else name


def is_publishable(topic: str) -> bool:
    """Does a broker take messages on this topic.

    For a filter, a control character or 200 levels it would end the connection; the same message, sent
    again, would end the next one, and so for ever.
    """
    if not (0 < len(topic) <= 8192 and topic.count("/") < 128 and topic.isprintable()):
        return False
    return "+" not in topic and "#" not in topic


def is_reserved(topic: str) -> bool:
    """May nobody ask for an answer there: topics that start something, our own, broker topics, and what is no topic.

    On our own topics an answer would look like news of another run.
    """
    first, *rest = topic.split("/")
    spoken = first == "pipelines" and (rest[-1:] == ["run"] or rest[1:2] in _SPOKEN)
    return spoken or topic.startswith(("$", "fpbus/")) or not is_publishable(topic)


def takes_replies(topic: str) -> bool:
    """May a call be answered there."""
    return not is_reserved(topic) or (topic.startswith("fpbus/reply/") and is_publishable(topic))
