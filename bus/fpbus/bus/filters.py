"""Topic filters, as MQTT 3.1.1 section 4.7 defines them."""

from collections.abc import Sequence


class TopicFilter:
    """A filter with `+` and `#`, cut into its levels once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._parts = name.split("/")

    def matches(self, levels: Sequence[str]) -> bool:
        """Tell whether a topic, cut into its levels, fits; a wildcard never stands for a first level with $."""
        if levels[0].startswith("$") and self._parts[0] in {"+", "#"}:
            return False
        for position, part in enumerate(self._parts):
            if part == "#":
                return True
            if position >= len(levels) or (part != levels[position] and part != "+"):
                return False
        return len(self._parts) == len(levels)


def matches(topic_filter: str, topic: str) -> bool:
    """Tell whether a filter matches a topic."""
    return TopicFilter(topic_filter).matches(topic.split("/"))
