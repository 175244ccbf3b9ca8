"""Read YAML as YAML 1.2 means it, and remember on which line each key stands.

PyYAML alone reads YAML 1.1, where `on` is true, `22:22` is 1342 and `012` is 10. Dates stay text: JSON has none,
and a function that wants one gets it by its type hint. Nothing that a tag could construct is constructed.
"""

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from .faults import Fault, FaultError
from .faults import Key as Key  # noqa: PLC0414 (who reads YAML needs it)
from .masking import stands_at_secret

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 64
MAX_NODES: Final = 100_000

_TOO_DEEP: Final = f"it is nested more than {MAX_DEPTH} deep."
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_resolve: Any = yaml.resolver.Resolver().resolve
_TAG: Final = "tag:yaml.org,2002:"
_CONSTANTS: Final[dict[str, Any]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_INT: Final = re.compile(r"[-+]?[0-9]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_OTHER_BASE: Final = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")
_LEADING_ZERO: Final = re.compile(r"[-+]?0[0-9]+")


class Document:
    """What a file says: `value`, the line of each key, and which texts stand there without quotes."""

    def __init__(self, path: Path, value: Any, lines: dict[Key, int], unquoted: set[Key]) -> None:
        self.path = path
        self.value = value
        self.lines = lines
        self.unquoted = unquoted

    def line_of(self, key: Key) -> int | None:
        """Return the line of a key, or of the section that should hold it."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key)


def read_yaml(path: Path) -> Document:
    """Read one file; raise `FaultError` with file and line for what is no YAML, or too much of it."""
    content = _content(path)
    try:
        node = _compose(path, content)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise FaultError(_no_yaml(path, error, content)) from None
    reading = _Reading(path)
    value = reading.read(node, ()) if node is not None else {}
    return Document(path, value, reading.lines, reading.unquoted)


def scalar(text: str) -> Any:
    """Return what a text without quotes means in YAML 1.2: null, true, false, a number, or the text itself."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        return int(text) if len(text) < 1000 else text
    if _OTHER_BASE.fullmatch(text):
        return int(text, 0)
    return float(text) if _FLOAT.fullmatch(text) else text


def has_leading_zero(text: str) -> bool:
    """Tell whether a text is a number such as 012, which YAML 1.1 takes for 10, and people often for text."""
    return _LEADING_ZERO.fullmatch(text) is not None


def _content(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would never end
            raise FaultError(Fault(file=str(path), message="it is no file."))
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise FaultError(Fault(file=str(path), message="the file is missing.", hint=_where_else(path))) from None
    except OSError as error:
        raise FaultError(Fault(file=str(path), message=f"it cannot be read: {error.strerror}.")) from error
    if len(content) > MAX_BYTES:
        raise FaultError(Fault(file=str(path), message=f"it is larger than {MAX_BYTES} bytes."))
    return content


def _where_else(path: Path) -> str:
    if path.with_suffix(".yaml").is_file():
        return f"There is {path.stem}.yaml, which is not read: rename it to {path.name}."
    return "Make a project: fpbus init" if path.name == "project.yml" else "Make a pipeline: fpbus pipeline new"


def _compose(path: Path, content: bytes) -> Any:
    """Return the file's nodes.

    PyYAML's composer in C calls itself for each level, and a deep file would end the process.
    """
    loader = _Loader(content)
    try:
        _refuse_depth(path, loader)
    finally:
        loader.dispose()
    loader = _Loader(content)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def _refuse_depth(path: Path, loader: Any) -> None:
    depth = 0
    while (event := loader.get_event()) is not None:
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise FaultError(Fault(file=str(path), line=_line(event), message=_TOO_DEEP))


class _Reading:
    """One pass over a file's nodes. An alias is read again where it stands, and counts again."""

    def __init__(self, path: Path) -> None:
        self.lines: dict[Key, int] = {}
        self.unquoted: set[Key] = set()
        self._path = path
        self._nodes = 0

    def read(self, node: Any, key: Key) -> Any:
        self._count(node, len(key))
        if isinstance(node, yaml.MappingNode):
            self._refuse_tag(node, f"{_TAG}map")
            return dict(self._pairs(node, key))
        if isinstance(node, yaml.SequenceNode):
            self._refuse_tag(node, f"{_TAG}seq")
            return [self._item(item, (*key, str(number))) for number, item in enumerate(node.value)]
        return self._scalar(node, key)

    def _count(self, node: Any, depth: int) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._fault(node, f"there are more than {MAX_NODES} values, aliases counted where they stand.")
        if depth > MAX_DEPTH:
            raise self._fault(node, _TOO_DEEP)

    def _item(self, node: Any, key: Key) -> Any:
        self.lines[key] = _line(node)
        return self.read(node, key)

    def _pairs(self, node: Any, key: Key) -> Iterator[tuple[str, Any]]:
        self._refuse_twice(node, key)
        for name_node, value_node in self._merged(node, 0):
            name = self._text_of(name_node)
            self.lines[*key, name] = _line(name_node)
            yield name, self.read(value_node, (*key, name))

    def _refuse_twice(self, node: Any, key: Key) -> None:
        seen: dict[str, int] = {}
        for name_node, _ in node.value:
            name, line = self._text_of(name_node), _line(name_node)
            if name in seen:
                message = f"the key {name!r} is there twice, also on line {seen[name]}."
                raise self._fault(name_node, message, (*key, name))
            seen[name] = line

    def _merged(self, node: Any, depth: int) -> list[tuple[Any, Any]]:
        """Take in what `<<: *other` brings, below the mapping's own keys."""
        self._count(node, depth)
        pairs = {self._text_of(name): (name, value) for name, value in node.value if not _is_merge(name)}
        for name, value in node.value:
            for source in self._sources(value) if _is_merge(name) else ():
                pairs = {self._text_of(pair[0]): pair for pair in self._merged(source, depth + 1)} | pairs
        return list(pairs.values())

    def _sources(self, node: Any) -> list[Any]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not all(isinstance(source, yaml.MappingNode) for source in sources):
            raise self._fault(node, "`<<` needs a mapping.")
        return list(sources)

    def _text_of(self, name: Any) -> str:
        if not isinstance(name, yaml.ScalarNode):
            raise self._fault(name, "a key must be text.")
        return str(name.value)

    def _scalar(self, node: Any, key: Key) -> Any:
        text: str = node.value
        if node.style:  # in quotes, or a block of text
            self._refuse_tag(node, f"{_TAG}str")
            return text
        own = _resolve(yaml.ScalarNode, text, (True, False))
        if node.tag == f"{_TAG}str" and own != node.tag:  # `!!str 12`
            return text
        self._refuse_tag(node, own)
        if has_leading_zero(text):
            shown = "this" if stands_at_secret(key) else text
            message = f"{shown} is one number to some programs and another to others, for it begins with 0."
            raise self._fault(node, message, key, "In quotes it is text; a number has no 0 in front.")
        value = scalar(text)
        if isinstance(value, str):
            self.unquoted.add(key)
        return value

    def _refuse_tag(self, node: Any, own: str) -> None:
        if node.tag != own:
            tag = node.tag.replace(_TAG, "!!")[:60]
            raise self._fault(node, f"the tag {tag!r} cannot be used.", hint="The only tag is !!str.")

    def _fault(self, node: Any, message: str, key: Key = (), hint: str | None = None) -> FaultError:
        place = Fault(file=str(self._path), line=_line(node), key=".".join(key), message=message, hint=hint)
        return FaultError(place)


def _is_merge(name: Any) -> bool:
    return bool(name.value == "<<" and not name.style)


def _line(node: Any) -> int:
    line: int = node.start_mark.line
    return line + 1


def _no_yaml(path: Path, error: Exception, content: bytes) -> Fault:
    if not isinstance(error, yaml.MarkedYAMLError):
        return Fault(file=str(path), message=f"this is no YAML: {_of_reader(error)}.", hint="Save it as UTF-8 text.")
    mark = error.problem_mark or error.context_mark
    about = ", ".join(part for part in (error.context, error.problem) if part)
    lines = content.decode(errors="replace").splitlines()
    line = mark.line + 1 if mark else None
    return Fault(file=str(path), line=line, message=f"this is no YAML: {about}.", hint=_hint(about, lines, line or 1))


def _of_reader(error: Exception) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        return f"{error.reason} (byte {error.position})"
    return " ".join(str(error).split())[:200]


def _hint(about: str, lines: list[str], line: int) -> str | None:
    text = lines[line - 1] if line <= len(lines) else ""
    if "${" in text and "flow" in about:
        return "Inside { } and [ ] a ${NAME} needs quotes, and is text then; on a line of its own it needs none."
    if "\t" in text[: len(text) - len(text.lstrip())]:
        return "Indent with blanks: YAML takes no tabs."
    if "mapping values are not allowed" in about:
        return "A text with ': ' in it needs quotes."
    return None
