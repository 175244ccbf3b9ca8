"""Compare a document with what its keys must hold, and say everything that does not fit in sentences."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from fpbus.schemas import PipelineConfig, ProjectConfig

from .credentials import MASK
from .faults import Complaint, Key
from .kinds import choices_of, fits, in_words, items_of, section_of, sections_by_tag, takes, takes_only_text
from .masking import mask_text, masked_at, stands_at_secret
from .yaml_reader import scalar

_SHOWN_CHARS: Final = 60
_DEEPEST: Final = 4
_MUCH_LIKE: Final = 0.8
_MOST_PLACES: Final = 3
_LIKE_BOOL: Final = frozenset({"on", "off", "yes", "no", "y", "n"})
_OTHER_FILE: Final[dict[type[Struct], tuple[str, type[Struct]]]] = {
    PipelineConfig: ("conf/project.yml", ProjectConfig),
    ProjectConfig: ("conf/pipelines/<name>.yml", PipelineConfig),
}


def complaints(value: Any, kind: type[Struct]) -> list[Complaint]:
    """Return key, sentence and hint of all that does not fit `kind`; nothing when it fits."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        found = list(_compare(value, kind, (), kind))
        return found or [((), mask_text(f"it cannot be used: {error}."), None)]
    return []


def _compare(value: Any, kind: Any, at: Key, whole: type[Struct]) -> Iterator[Complaint]:
    section, values, items = section_of(kind), items_of(kind, dict), items_of(kind, list)
    if isinstance(value, Mapping) and section:
        yield from _compare_alternatives(value, kind, section, at, whole)
    elif isinstance(value, Mapping) and values:
        for name, item in value.items():
            yield from _compare(item, values, (*at, name), whole)
    elif isinstance(value, list) and items:
        for number, item in enumerate(value):
            yield from _compare(item, items, (*at, str(number)), whole)
    elif not fits(value, kind):
        yield at, f"`{_name(at)}` is {shown_at(at, value)}; it must be {in_words(kind)}.", _hint(at, value, kind)


def _compare_alternatives(
    value: Mapping[str, Any], kind: Any, section: type[Struct], at: Key, whole: type[Struct]
) -> Iterator[Complaint]:
    """Compare with the section that the value's tag names, where there are several; then ask the section itself."""
    tag_field, by_tag = sections_by_tag(kind)
    tag = value.get(tag_field)
    if by_tag and str(tag) not in by_tag:
        yield _wrong_tag((*at, tag_field), tag, list(by_tag))
        return
    section = by_tag.get(str(tag), section)
    yield from list(_compare_section(value, section, at, whole)) or _refusals(value, section, at)


def _wrong_tag(key: Key, tag: Any, tags: list[str]) -> Complaint:
    choices = f"one of {', '.join(tags)}"
    if tag is None:
        return key[:-1], f"the key `{_name(key)}` is missing; it is {choices}.", f"Add it: {key[-1]}: ..."
    close = _closest(str(tag), tags)
    hint = f"Did you mean {close!r}?" if close else None
    return key, f"`{_name(key)}` is {shown_at(key, tag)}; it must be {choices}.", hint


def _refusals(value: Mapping[str, Any], section: type[Struct], at: Key) -> Iterator[Complaint]:
    """Yield what a section refuses though each key fits, at the key without which it says something else."""
    optional = {field.encode_name for field in msgspec.structs.fields(section) if not field.required}
    rest = dict(value)
    while (problem := _problem(rest, section)) is not None:
        blamed = next(
            (name for name in rest if name in optional and _problem(_less(rest, name), section) != problem), None
        )
        key = at if blamed is None else (*at, blamed)
        yield key, mask_text(f"`{_name(key)}` cannot be used: {problem}."), None
        if blamed is None:
            return
        rest = _less(rest, blamed)


def _problem(value: Mapping[str, Any], section: type[Struct]) -> str | None:
    try:
        msgspec.convert(value, section)
    except msgspec.ValidationError as error:
        return re.sub(r" - at `\$[^`]*`$", "", str(error))
    return None


def _less(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key != name}


def _compare_section(value: Mapping[str, Any], kind: type[Struct], at: Key, whole: type[Struct]) -> Iterator[Complaint]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    tag_field = kind.__struct_config__.tag_field
    for name, item in value.items():
        key = (*at, name)
        if name == tag_field:
            continue
        if name in fields:
            yield from _compare(item, fields[name].type, key, whole)
        else:
            yield key, f"there is no key `{_name(key)}`.", _meant(name, at, fields, whole)
    for name, field in fields.items():
        if field.required and name not in value:
            yield at, f"the key `{_name((*at, name))}` is missing.", f"Add it: {name}: ..."


def _name(key: Key) -> str:
    return ".".join(key) if key else "the file"


def _hint(key: Key, found: Any, kind: Any) -> str | None:
    if takes(kind, bool) and str(found).lower() in _LIKE_BOOL:
        return "Write true or false: on, off, yes and no are text in YAML 1.2."
    if close := _closest(str(found), choices_of(kind)):
        return f"Did you mean {close!r}?"
    if takes_only_text(kind) and isinstance(found, int | float) and not choices_of(kind):
        return "Put it in quotes." if stands_at_secret(key) else f'Put it in quotes: "{_plainly(found)}"'
    if isinstance(found, str) and not stands_at_secret(key) and scalar(found) != found and fits(scalar(found), kind):
        return f"Write it without quotes: {found}"
    if items_of(kind, list) and isinstance(found, str) and fits([found], kind):
        return f"Write it as a list: [{mask_text(found)}]"
    return None


def _closest(name: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """Return the known name that is most like this one, whatever their case."""
    names = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), names, 1, likeness)
    return names[close[0]] if close else None


def _meant(name: str, at: Key, fields: Iterable[str], whole: type[Struct]) -> str:
    """Guess which key was meant: one much like it here, this one elsewhere, one somewhat like it here."""
    known, places = list(fields), _sections_with(name, whole)
    other, kind = _OTHER_FILE[whole]
    if name in kind.__struct_fields__ and not places:
        return f"It belongs in {other}."
    if close := _closest(name, known, _MUCH_LIKE if places else 0.6):
        return f"Did you mean `{'.'.join((*at, close))}`?"
    return f"It belongs {' or '.join(places[:_MOST_PLACES])}." if places else f"There are: {', '.join(known)}."


def _sections_with(name: str, whole: type[Struct]) -> list[str]:
    """Say where in the file a key of this name can stand, the outermost section first."""
    sections = sorted((key[:-1] for key in _keys(whole, ()) if key[-1] == name), key=len)
    return [f"under `{'.'.join(section)}:`" if section else "at the top, in no section" for section in sections]


def _keys(kind: type[Struct], at: Key) -> Iterator[Key]:
    for field in msgspec.structs.fields(kind):
        yield (*at, field.name)
        section = section_of(field.type)
        if section is not None and len(at) < _DEEPEST:
            yield from _keys(section, (*at, field.name))


def shown_at(key: Key, value: Any) -> str:
    """Return a found value as a person may see it: no secret, and not long."""
    if value is not None and stands_at_secret(key):
        return MASK
    text = repr(masked_at(key, value)) if isinstance(value, str | list | Mapping) else _plainly(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


def _plainly(value: Any) -> str:
    if value is None:
        return "nothing"
    return str(value).lower() if isinstance(value, bool) else str(value)
