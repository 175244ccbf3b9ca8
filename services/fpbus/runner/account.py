"""What the nodes of an attempt did and what it said, as far as its result has room for that."""

from collections import deque
from typing import Final

from msgspec.structs import replace

from fpbus.schemas import LogLine, NodeRecord, RunAccount, encode

from .orders import Progress

MOST_NODES: Final = 200
MOST_LINES: Final = 200
MOST_LOG_CHARS: Final = 32 * 1024
TEXT_CHARS: Final = 500


class Account:
    """Gathers the first nodes and the last lines; what does not fit is counted."""

    def __init__(self) -> None:
        self._ended: list[NodeRecord] = []
        self._running: dict[str, list[NodeRecord]] = {}
        self._log: deque[LogLine] = deque()
        self._log_chars = 0
        self._dropped = 0

    def add(self, progress: Progress) -> None:
        for node in progress.nodes:
            self._add_node(node)
        if progress.lines:
            self._add_lines(progress.lines)
        self._dropped += progress.dropped

    def encoded(self, room: int) -> bytes:
        """Return it as JSON, or nothing where there is nothing to tell. What is larger than `room` is only counted."""
        running = [node for starts in self._running.values() for node in starts]
        nodes = _first([*running, *self._ended]) if running else self._ended
        dropped = self._dropped + len(running) + len(self._ended) - len(nodes)
        if not (nodes or self._log):
            return b""
        account = encode(RunAccount(nodes=nodes, log=list(self._log), dropped=dropped))
        if len(account) > room:
            return encode(RunAccount(dropped=dropped + len(nodes) + len(self._log)))
        return account

    def _add_node(self, node: NodeRecord) -> None:
        """Note a start until its end is told. A node between `Parallelizable` and `Collect` has several of each."""
        starts = self._running.pop(node.node, [])
        if node.state == "started":
            starts = [*starts, node][:MOST_NODES]
        else:
            starts = starts[1:]
            if len(self._ended) < MOST_NODES:
                self._ended.append(_cut(node))
            else:
                self._dropped += 1
        if starts:
            self._running[node.node] = starts

    def _add_lines(self, lines: list[LogLine]) -> None:
        self._log.extend(lines)
        self._log_chars += sum(len(line.text) for line in lines)
        while len(self._log) > MOST_LINES or self._log_chars > MOST_LOG_CHARS:
            self._log_chars -= len(self._log.popleft().text)
            self._dropped += 1


def _first(nodes: list[NodeRecord]) -> list[NodeRecord]:
    """Return so many that there is room for, in order of time; those at the front of the list come first."""
    return sorted(nodes[:MOST_NODES], key=lambda node: node.at)


def _cut(node: NodeRecord) -> NodeRecord:
    if len(node.error or "") <= TEXT_CHARS and len(node.summary or "") <= TEXT_CHARS:
        return node
    error, summary = (text and text[:TEXT_CHARS] for text in (node.error, node.summary))
    return replace(node, error=error, summary=summary)
