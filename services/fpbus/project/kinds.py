"""What the keys of a Struct may hold, read from its type hints, and how to say that to people."""

import types
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from .faults import Key

_WORDS: Final[dict[Any, list[str]]] = {
    str: ["text"],
    int: ["a whole number"],
    float: ["a number"],
    bool: ["true", "false"],
}


def fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def kind_at(kind: Any, key: Key) -> Any:
    """Return what the key may hold; `Any` where everything may stand, and for keys that there are not."""
    for part in key:
        section = section_of(kind)
        types_of = {field.encode_name: field.type for field in msgspec.structs.fields(section)} if section else {}
        kind = types_of.get(part) or items_of(kind, dict) or items_of(kind, list) or Any
    return kind


def section_of(kind: Any) -> type[Struct] | None:
    """Return the Struct among the alternatives of a kind, the first of several."""
    return next(_sections(kind), None)


def sections_by_tag(kind: Any) -> tuple[str, dict[str, type[Struct]]]:
    """Return the key that says which of several Structs is meant, and what it can say; nothing where there is none."""
    tagged = [each for each in _sections(kind) if each.__struct_config__.tag_field]
    by_tag = {str(each.__struct_config__.tag): each for each in tagged}
    return (tagged[0].__struct_config__.tag_field or "" if tagged else ""), by_tag


def _sections(kind: Any) -> Iterator[type[Struct]]:
    for each in map(_bare, _alternatives(kind)):
        if isinstance(each, type) and issubclass(each, Struct):
            yield each


def items_of(kind: Any, container: type) -> Any:
    """Return what each value of a dict or list may be; None where the kind is no such container."""
    bare = map(_bare, _alternatives(kind))
    return next((get_args(each)[-1] for each in bare if get_origin(each) is container), None)


def choices_of(kind: Any) -> list[str]:
    """Return the texts that can stand where only certain ones can."""
    return [choice for each in _alternatives(kind) for choice in _choices(_bare(each))]


def takes_only_text(kind: Any) -> bool:
    alternatives = [_bare(each) for each in _alternatives(kind)]
    return bool(alternatives) and all(each is str or _choices(each) for each in alternatives)


def takes(kind: Any, plain: type) -> bool:
    return plain in map(_bare, _alternatives(kind))


def in_words(kind: Any) -> str:
    """Say what a kind is: `a whole number of at least 0`, `one of high, default, low`, `true, false or a mapping`."""
    *most, last = list(dict.fromkeys(word for each in _alternatives(kind) for word in _say(each)))
    return f"{', '.join(most)} or {last}" if most else last


def _alternatives(kind: Any) -> Iterator[Any]:
    if get_origin(kind) in {Union, types.UnionType}:
        for member in get_args(kind):
            yield from _alternatives(member)
    elif kind is not types.NoneType:
        yield kind


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _choices(bare: Any) -> list[str]:
    if get_origin(bare) is Literal:
        return [str(choice) for choice in get_args(bare)]
    members = getattr(bare, "__members__", {})  # an enumeration's
    return [str(member.value) for member in members.values()]


def _say(kind: Any) -> list[str]:
    bare = _bare(kind)
    if choices := _choices(bare):
        return [f"one of {', '.join(choices)}"]
    if bare in _WORDS:
        *most, last = _WORDS[bare]
        return [*most, f"{last}{_limits(kind)}"]
    return ["a list" if get_origin(bare) is list else "a mapping"]


def _limits(kind: Any) -> str:
    """Say the limits on a number or text, with a blank before."""
    meta: Iterable[Meta] = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    return "".join(f" {words}" for each in meta for words in _limit(each))


def _limit(meta: Meta) -> Iterator[str]:
    if meta.ge is not None and meta.le is not None:
        yield f"from {meta.ge:.15g} to {meta.le:.15g}"
        return
    if meta.ge is not None:
        yield f"of at least {meta.ge:.15g}"
    if meta.gt is not None:
        yield f"above {meta.gt:.15g}"
    if meta.le is not None:
        yield f"and at most {meta.le:.15g}" if meta.gt is not None else f"of at most {meta.le:.15g}"
    if meta.max_length is not None:
        yield f"of at most {meta.max_length} characters"
    if meta.pattern is not None:
        yield f"({meta.description})" if meta.description else f"that matches {meta.pattern}"
