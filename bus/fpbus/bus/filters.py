"""Topic filters, as MQTT 3.1.1 section 4.7 defines them."""


def matches(topic_filter: str, topic: str) -> bool:
    """Tell whether a filter with `+` and `#` matches; a wildcard never stands for a first level with $."""
    if topic_filter == topic:
        return True
    if topic.startswith("$") and topic_filter[:1] in {"+", "#"}:
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for position, part in enumerate(wanted):
        if part == "#":
            return True
        if position >= len(levels) or part not in {"+", levels[position]}:
            return False
    return len(wanted) == len(levels)
