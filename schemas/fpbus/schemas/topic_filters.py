"""Topic filters with names in them: `zigbee2mqtt/{device}` hears what `zigbee2mqtt/+` does, and says which device."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from .topics import is_publishable

_NAME: Final = re.compile(r"\{([a-z_][a-z0-9_]*)(#?)\}", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class TopicFilter:
    """A filter as brokers take it, and the names of its levels: None where a level has none."""

    mqtt: str
    names: tuple[str | None, ...]
    _levels: tuple[str, ...]

    @property
    def captures(self) -> list[str]:
        return [name for name in self.names if name is not None]

    def match(self, topic: str) -> dict[str, str] | None:
        """Return what the named levels hold, or None where the filter does not match."""
        levels = topic.split("/")
        if topic.startswith("$"):
            return None
        captured: dict[str, str] = {}
        for place, (wanted, name) in enumerate(zip(self._levels, self.names, strict=True)):
            if wanted == "#":
                return captured | ({name: "/".join(levels[place:])} if name else {})
            if place >= len(levels) or wanted not in {"+", levels[place]}:
                return None
            if name:
                captured[name] = levels[place]
        return captured if len(levels) == len(self._levels) else None


@lru_cache(maxsize=1024)
def topic_filter(text: str) -> TopicFilter:
    """Read a filter with `+`, `#`, `{name}` for one level, and `{name#}` for all that follow.

    Raises `ValueError` for one that no broker takes, or that hears what is not a device's.
    """
    levels, names = zip(*(_level(part) for part in text.split("/")), strict=True)
    if text.startswith("$"):
        raise ValueError(f"{text!r} is a topic of the broker itself, which starts no pipeline")
    if "#" in levels[:-1]:
        raise ValueError(f"{text!r} has a # that is not its last level")
    named = [name for name in names if name]
    if len(set(named)) < len(named):
        raise ValueError(f"{text!r} has one name twice")
    found = TopicFilter("/".join(levels), names, levels)
    if not is_publishable(re.sub("[+#]", "x", found.mqtt)):
        raise ValueError(f"{text!r} is no topic that a broker takes")
    return found


def _level(part: str) -> tuple[str, str | None]:
    if part in {"+", "#"}:
        return part, None
    if named := _NAME.fullmatch(part):
        return "#" if named[2] else "+", named[1]
    if set("+#{}") & set(part):
        raise ValueError(f"{part!r} is only a part of a level; +, # and {{name}} stand for whole levels")
    return part, None
