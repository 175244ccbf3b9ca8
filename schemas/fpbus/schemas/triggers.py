"""`triggers:` of a pipeline: which messages of devices start it, and what its inputs are then."""

import ast
import re
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from .codes import Priority
from .settings import MOST_SECONDS
from .topic_filters import topic_filter
from .windows import WindowConfig

#: What paths and conditions begin with.
FACTS: Final = ("payload", "topic", "captures", "properties", "received_at", "content_type", "qos")
FORMATS: Final = ("json", "msgpack", "text", "bytes", "csv")
#: What a condition may call.
FUNCTIONS: Final = (
    "abs",
    "float",
    "int",
    "len",
    "lower",
    "max",
    "min",
    "round",
    "str",
    "upper",
    "startswith",
    "endswith",
)

_DOTTED: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_ALLOWED: Final = (
    ast.Expression,
    ast.BoolOp,
    ast.UnaryOp,
    ast.BinOp,
    ast.Compare,
    ast.IfExp,
    ast.Call,
    ast.Name,
    ast.Attribute,
    ast.Subscript,
    ast.Constant,
    ast.List,
    ast.Tuple,
    ast.expr_context,
    ast.boolop,
    ast.unaryop,
    ast.cmpop,
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.Div,
    ast.FloorDiv,
    ast.Mod,
)


class TriggerConfig(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One of a pipeline's `triggers`: messages on `topic` start it.

    `inputs` says where each input is found, as a path into the message; without it the payload's own fields are the
    inputs. Paths begin with `payload`, `topic`, `captures` (the named levels of the topic), `properties` (MQTT 5 user
    properties), `received_at`, `content_type` or `qos`. `when` is a condition over the same. `run_id` is for devices
    that number their messages: the same values are the same run.
    """

    topic: Annotated[str, Meta(min_length=1, max_length=1024)]
    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}(?!\n)$")] | None = None
    qos: Literal[0, 1, 2] = 1
    format: str = "json"
    inputs: dict[str, str] | None = None
    constants: dict[str, Any] = {}
    when: str | None = None
    run_id: list[str] | str | None = None
    key: str | None = None
    reply_to: str | None = None
    priority: Priority | None = None
    expires_in_s: Annotated[float, Meta(gt=0, le=MOST_SECONDS)] | None = None
    retained: bool = False
    window: WindowConfig | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be read, before any message comes."""
        captures = topic_filter(self.topic).captures
        if self.format not in FORMATS and not _DOTTED.fullmatch(self.format):
            raise ValueError(f"format is {self.format!r}; it can be {', '.join(FORMATS)}, or a function as codecs.read")
        for path in self.paths:
            check_path(path, captures)
        for name in _PLACEHOLDER.findall(self.reply_to or ""):
            if name not in captures:
                raise ValueError(f"reply_to has {{{name}}}, and the topic has no level of that name")
        if self.when is not None:
            parse_condition(self.when, captures)

    @property
    def paths(self) -> list[str]:
        """Everything in it that is a path."""
        return [*(self.inputs or {}).values(), *self.identity, *([self.key] if self.key else [])]

    @property
    def identity(self) -> list[str]:
        """The paths whose values are a message's own number."""
        return [self.run_id] if isinstance(self.run_id, str) else self.run_id or []


def reply_filter(reply_to: str) -> str:
    """Return the filter that matches all topics a `reply_to` may lead to."""
    return "/".join("+" if "{" in level else level for level in reply_to.split("/"))


def check_path(path: str, captures: list[str]) -> None:
    """Raise `ValueError` for a path that leads nowhere in any message."""
    first, _, rest = path.partition(".")
    if first not in FACTS:
        raise ValueError(f"{path!r} begins with none of {', '.join(FACTS)}")
    if first == "captures" and rest not in captures:
        raise ValueError(f"{path!r}: the topic has no level {{{rest}}}")


def parse_condition(text: str, captures: list[str]) -> ast.expr:
    """Read a condition; raise `ValueError` for what is none, or does more than compare and compute."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"when cannot be read: {getattr(error, 'msg', error)}") from None
    alien = next((node for node in ast.walk(tree) if not isinstance(node, _ALLOWED)), None)
    if alien is not None:
        raise ValueError(f"when cannot have {ast.unparse(alien)!r}: it compares and computes, nothing else")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            _check_call(node)
        elif isinstance(node, ast.Name) and node.id not in {*FACTS, *FUNCTIONS}:
            raise ValueError(f"when knows no {node.id!r}; it has {', '.join(FACTS)}")
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "captures" and node.attr not in captures:
            raise ValueError(f"when has captures.{node.attr}, and the topic has no level of that name")
    return tree.body


def _check_call(node: ast.Call) -> None:
    if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS or node.keywords:
        raise ValueError(f"when cannot call {ast.unparse(node.func)!r}; it can call {', '.join(FUNCTIONS)}")
