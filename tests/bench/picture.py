"""Runs per second as bars: what a reader would rather look at than read."""

from collections.abc import Iterator
from typing import Final
from xml.sax.saxutils import escape

from bench.figures import Results
from bench.table import (
    ARQ_NOOP,
    CELERY_NOOP,
    DRAMATIQ_NOOP,
    FLOWERPOWER,
    FPBUS,
    HUEY_NOOP,
    RQ,
    RQ_FORKING,
    RQ_NOOP,
    TASKIQ_NOOP,
)

_GROUPS: Final = (
    ("a Hamilton pipeline, MQTT to MQTT", (FPBUS, RQ, RQ_FORKING, FLOWERPOWER)),
    ("a task that does nothing, no MQTT", (DRAMATIQ_NOOP, TASKIQ_NOOP, HUEY_NOOP, CELERY_NOOP, ARQ_NOOP, RQ_NOOP)),
)
_WIDTH, _LEFT, _ROW = 720, 250, 24
_OURS, _THEIRS = "#0b7a75", "#9aa5b1"


def picture(results: Results) -> str:
    """Return an SVG: median runs per second, with the range over the rounds as a line."""
    most = max((row.figures.get("per_s", 0.0) for row in results.rows if row.variant in _shown()), default=1.0)
    lines = list(_lines(results, (_WIDTH - _LEFT - 80) / most))
    height = _ROW * len(lines) + 16
    body = "\n".join(f'<g transform="translate(0 {_ROW * place + 8})">{line}</g>' for place, line in enumerate(lines))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        'font-family="system-ui, sans-serif" font-size="13">\n<title>Runs per second, one worker</title>\n'
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>\n{body}\n</svg>\n'
    )


def _shown() -> set[str]:
    return {variant for _, variants in _GROUPS for variant in variants}


def _lines(results: Results, scale: float) -> Iterator[str]:
    for title, variants in _GROUPS:
        yield f'<text x="8" y="17" font-weight="600" fill="#333">{escape(title)}</text>'
        for variant in variants:
            if rate := results.figure(variant, "per_s"):
                width, low, high = (round(value * scale, 1) for value in rate)
                colour = _OURS if variant == FPBUS else _THEIRS
                yield (
                    f'<text x="{_LEFT - 8}" y="17" text-anchor="end" fill="#333">{escape(variant)}</text>'
                    f'<rect x="{_LEFT}" y="4" width="{width}" height="17" fill="{colour}"/>'
                    f'<path d="M{_LEFT + low} 12.5H{_LEFT + high}" stroke="#333"/>'
                    f'<text x="{_LEFT + high + 6}" y="17" fill="#333">{rate.median:,.0f}/s</text>'
                )
