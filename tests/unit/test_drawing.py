"""A pipeline's DAG is read from Hamilton, laid out without overlaps, and written in every format."""

import importlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hamilton.driver import Builder, Driver
from hamilton.io.materialization import from_, to
from hypothesis import given, settings
from hypothesis import strategies as st

from fpbus.pipelines.drawing import (
    DagEdge,
    DagNode,
    DagView,
    DrawingFormat,
    MissingProgramError,
    NodeKind,
    NotDrawnError,
    UnknownNodeError,
    draw,
    view_of,
)

PRICES = '''
def rate(currency: str) -> float:
    """What one unit costs."""
    return 1.0


def converted(amount: float, rate: float) -> float:
    return amount * rate
'''
SHOP = '''
import drawn_prices
from hamilton.function_modifiers import config, extract_fields, parameterize, source, subdag, tag, value
from hamilton.htypes import Collect, Parallelizable


@config.when(region="eu")
def tax__eu(vat: float) -> float:
    return vat


@config.when(region="us")
def tax__us(sales_tax: float) -> float:
    return sales_tax


@tag(owner="finance", stage="gold")
@extract_fields({"net": float, "lines": list[int]})
def order(raw: dict[str, float], limit: int = 10) -> dict[str, object]:
    """Read & check <one> order.

    The rest of the story.
    """
    return {}


@subdag(drawn_prices, inputs={"amount": source("net")}, config={"currency": "EUR"})
def euros(converted: float) -> float:
    return converted


@parameterize(weekly={"days": value(7)}, monthly={"days": value(30)})
def mean(net: float, tax: float, days: int) -> float:
    """Mean of {days} days."""
    return net


def line(lines: list[int]) -> Parallelizable[int]:
    yield from lines


def checked(line: int) -> int:
    return line


def all_checked(checked: Collect[int]) -> list[int]:
    return list(checked)


def report(weekly: float, monthly: float, euros: float, all_checked: list[int]) -> dict[str, float]:
    return {}
'''
TEXT_FORMATS = [form for form in DrawingFormat if form not in {DrawingFormat.PNG, DrawingFormat.PDF}]
PROGRAM_FORMATS = {DrawingFormat.PNG: b"\x89PNG\r\n", DrawingFormat.PDF: b"%PDF-"}
needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    """A driver with most of what Hamilton offers: branches by configuration, subdags, dynamic nodes, a materializer."""
    (tmp_path / "drawn_prices.py").write_text(PRICES)
    (tmp_path / "drawn_shop.py").write_text(SHOP)
    monkeypatch.syspath_prepend(tmp_path)
    builder = Builder().enable_dynamic_execution(allow_experimental_mode=True)
    builder = builder.with_modules(importlib.import_module("drawn_shop")).with_config(
        {"region": "eu", "token": "s3cret"}
    )
    saver = to.json(id="saved", dependencies=["report"], path="report.json")
    yield builder.with_materializers(saver, from_.json(target="raw", path="orders.json")).build()
    for name in ("drawn_shop", "drawn_prices"):  # the next test writes them anew
        del sys.modules[name]


def by_name(view: DagView) -> dict[str, DagNode]:
    return {node.name: node for node in view.nodes}


def links(view: DagView) -> set[tuple[str, str]]:
    return {(edge.source, edge.target) for edge in view.edges}


def a_view(size: int = 8) -> DagView:
    """A small DAG: one input, and functions that each need one or two before."""
    names = [f"step_{index}" for index in range(size)]
    nodes = [DagNode(name=name, type="float", kind=NodeKind.FUNCTION) for name in names]
    edges = [DagEdge(source=names[index // 2], target=names[index]) for index in range(1, size)]
    return DagView(title="small", nodes=tuple(nodes), edges=tuple(edges))


def test_each_node_has_the_kind_that_its_reader_cares_for(shop: Driver) -> None:
    kinds = {name: node.kind for name, node in by_name(view_of(shop, "shop")).items()}

    assert {name for name, kind in kinds.items() if kind is NodeKind.INPUT} == {"limit", "vat"}
    assert {name for name, kind in kinds.items() if kind is NodeKind.CONFIG} == {"region", "token"}
    assert {name for name, kind in kinds.items() if kind is NodeKind.OUTPUT} == {"report"}
    assert {name for name, kind in kinds.items() if kind is NodeKind.MATERIALIZER} == {"saved", "load_data.raw"}


def test_a_node_tells_its_type_source_first_line_and_the_users_own_tags(shop: Driver) -> None:
    nodes = by_name(view_of(shop, "shop"))

    assert nodes["order"] == DagNode(
        name="order",
        kind=NodeKind.FUNCTION,
        type="dict[str, object]",
        source="drawn_shop.order",
        doc="Read & check <one> order.",
    )
    assert nodes["net"].tags == {"owner": "finance", "stage": "gold"}
    assert nodes["tax"].source == "drawn_shop.tax__eu"
    assert nodes["line"].type == "Parallelizable[int]"
    assert (nodes["load_data.raw"].type, nodes["saved"].type) == ("from json", "to json")
    assert nodes["weekly"].doc == "Mean of 7 days."
    assert (nodes["euros.rate"].group, nodes["euros.rate"].source) == ("euros", "drawn_prices.rate")


def test_edges_lead_from_what_is_needed_to_what_needs_it(shop: Driver) -> None:
    view = view_of(shop, "shop")

    assert {("net", "euros.amount"), ("euros.converted", "euros"), ("line", "checked"), ("report", "saved")} <= links(
        view
    )
    assert DagEdge(source="limit", target="order", optional=True) in view.edges
    assert DagEdge(source="raw", target="order") in view.edges


def test_a_configuration_entry_points_at_the_function_that_it_chose(shop: Driver) -> None:
    assert DagEdge(source="region", target="tax", optional=True) in view_of(shop, "shop").edges


@pytest.mark.parametrize("form", TEXT_FORMATS)
def test_values_of_the_configuration_are_not_shown(shop: Driver, form: DrawingFormat) -> None:
    view = view_of(shop, "shop")

    assert by_name(view)["token"].type == "str"
    assert b"s3cret" not in draw(view, form)


def test_with_final_vars_only_what_they_need_is_drawn(shop: Driver) -> None:
    view = view_of(shop, "shop", ["tax", "euros.amount"])

    names = {"vat", "region", "tax", "load_data.raw", "raw", "limit", "order", "net", "euros.amount"}
    assert set(by_name(view)) == names
    assert {node.name for node in view.nodes if node.kind is NodeKind.OUTPUT} == {"tax", "euros.amount"}
    assert all({edge.source, edge.target} <= names for edge in view.edges)


def test_a_final_var_that_is_no_node_is_named_with_the_closest_one(shop: Driver) -> None:
    with pytest.raises(UnknownNodeError, match="'reprot'") as caught:
        view_of(shop, "shop", ["reprot"])

    assert caught.value.hint == "Did you mean 'report'?"


def test_the_same_dag_gives_the_same_bytes_in_each_text_format(shop: Driver) -> None:
    view = view_of(shop, "shop")

    assert [draw(view, form) for form in TEXT_FORMATS] == [draw(view_of(shop, "shop"), form) for form in TEXT_FORMATS]


def test_a_page_finds_each_node_and_edge_of_an_svg(shop: Driver) -> None:
    view = view_of(shop, "shop")

    svg = ET.fromstring(draw(view, DrawingFormat.SVG))  # noqa: S314 - our own drawing

    ids = {element.get("id") for element in svg.iter() if element.get("class", "").startswith("node ")}
    ends = {(path.get("data-from"), path.get("data-to")) for path in svg.findall(".//{*}path") if path.get("data-from")}
    assert ids == {f"node-{node.name}" for node in view.nodes}
    assert ends == links(view)


def test_a_long_name_is_cut_in_the_middle_and_whole_in_the_tooltip() -> None:
    name = "the_average_of_" * 5 + "prices"

    svg = draw(DagView(title="long", nodes=(DagNode(name=name),)), DrawingFormat.SVG).decode()

    assert "<text" in svg
    shown = re.findall(r'<text class="name"[^>]*>([^<]*)</text>', svg)
    assert [len(shown[0]), shown[0][:11], shown[0][-6:]] == [32, "the_average", "prices"]
    assert f"<title>{name}</title>" in svg


def test_edges_of_a_drawing_to_the_right_leave_to_the_right() -> None:
    names = [f"wide_{index}" for index in range(12)]
    edges = tuple(DagEdge(source=names[0], target=name) for name in names[1:])

    view = DagView(title="wide", nodes=tuple(DagNode(name=name) for name in names), edges=edges)

    starts = re.findall(r'd="M([\d.]+) ([\d.]+)C([\d.]+) ([\d.]+) ', draw(view, DrawingFormat.SVG).decode())
    assert len(starts) == 11
    assert all(float(x) < float(next_x) and y == next_y for x, y, next_x, next_y in starts)


def test_an_empty_dag_is_an_empty_drawing() -> None:
    view = DagView(title="empty")

    assert b"empty" in draw(view, DrawingFormat.SVG)
    assert draw(view, DrawingFormat.MERMAID).decode().splitlines()[-1] == "flowchart TB"


# Names and types are never blank.
hostile = st.text(max_size=12).filter(lambda text: not text or bool(text.split())) | st.sampled_from(
    [
        "</script><script>alert(1)",
        "<!--svg-->",
        '"]',
        "--> end",
        "a]]>b",
        "#quot;",
        "\\",
        '\\"',
        "&amp;",
        "%%{init}%%",
        "\x00\x1b",
    ]
)


@st.composite
def hostile_views(draws: st.DrawFn) -> DagView:
    names = draws(st.lists(hostile.filter(bool), min_size=1, max_size=4, unique_by=lambda name: " ".join(name.split())))
    nodes = [DagNode(name=name, type=draws(hostile), doc=draws(hostile), tags={"t": draws(hostile)}) for name in names]
    return DagView(
        title=draws(hostile),
        nodes=tuple(nodes),
        edges=tuple(DagEdge(source=source, target=target) for source, target in pairwise(names)),
    )


@settings(max_examples=40, deadline=None)
@given(hostile_views())
def test_any_text_gives_well_formed_svg(view: DagView) -> None:
    svg = ET.fromstring(draw(view, DrawingFormat.SVG))  # noqa: S314 - our own drawing

    assert sum(1 for element in svg.iter() if element.get("class", "").startswith("node ")) == len(view.nodes)


@settings(max_examples=40, deadline=None)
@given(hostile_views())
def test_any_text_leaves_the_scripts_of_a_page_as_they_are(view: DagView) -> None:
    page = draw(view, DrawingFormat.HTML).decode()

    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 2
    assert [node["name"] for node in json.loads(scripts[0])] == [node.name for node in view.nodes]
    assert (
        scripts[1] == re.findall(r"<script>(.*?)</script>", draw(a_view(), DrawingFormat.HTML).decode(), re.DOTALL)[0]
    )


def test_a_page_needs_no_network() -> None:
    page = draw(a_view(), DrawingFormat.HTML).decode().replace('xmlns="http://www.w3.org/2000/svg"', "")

    assert not re.search(r"https?:|\bsrc=|@import|<link|fetch\(", page)


MERMAID_NODE = re.compile(
    r'^  n\d+(?:\("|\(\["|\[")<b>(?P<name>[^<>"]*)</b>(?:<br/><small>(?P<type>[^<>"]*)</small>)?(?:"\)|"\]\)|"\])$'
)
MERMAID_OTHER = re.compile(r"^  (?:n\d+ (?:-->|-\.->) n\d+|classDef [\w ,:#-]+|class [n\d,]+ \w+|end)$")
MERMAID_LETTERS = re.compile(r"(?:[\w .,-]|#\d+;)*")


@settings(max_examples=40, deadline=None)
@given(hostile_views())
def test_any_text_is_plain_letters_or_codes_to_mermaid(view: DagView) -> None:
    lines = draw(view, DrawingFormat.MERMAID).decode().split("\n")

    assert json.loads(lines[1].removeprefix("title: ")) == view.title
    body = [line for line in lines[4:-1] if not line.startswith("  subgraph")]
    nodes = [match for line in body if (match := MERMAID_NODE.match(line))]
    names = sorted(_decoded(match["name"]) for match in nodes)
    assert names == sorted(" ".join(node.name.split()) for node in view.nodes)
    assert all(MERMAID_NODE.match(line) or MERMAID_OTHER.match(line) for line in body)
    assert all(MERMAID_LETTERS.fullmatch(match["type"] or "") for match in nodes)


def _decoded(text: str) -> str:
    assert MERMAID_LETTERS.fullmatch(text)
    return re.sub(r"#(\d+);", lambda code: chr(int(code[1])), text)


def test_mermaid_and_dot_draw_subdags_as_groups(shop: Driver) -> None:
    view = view_of(shop, "shop")

    assert '["euros"]' in draw(view, DrawingFormat.MERMAID).decode()
    assert 'label="euros"' in draw(view, DrawingFormat.DOT).decode()


def test_raw_is_the_text_for_dot() -> None:
    assert draw(a_view(), DrawingFormat.RAW) == draw(a_view(), DrawingFormat.DOT)


@needs_dot
@pytest.mark.parametrize(("form", "first_bytes"), PROGRAM_FORMATS.items())
def test_graphviz_draws_the_same_bytes_each_time(shop: Driver, form: DrawingFormat, first_bytes: bytes) -> None:
    drawing = draw(view_of(shop, "shop"), form)

    assert drawing.startswith(first_bytes)
    assert drawing == draw(view_of(shop, "shop"), form)
    assert form is not DrawingFormat.PDF or b"D:19700101000000" in drawing


@needs_dot
@settings(max_examples=10, deadline=None)
@given(hostile_views())
def test_graphviz_reads_any_text(view: DagView) -> None:
    assert draw(view, DrawingFormat.PNG).startswith(PROGRAM_FORMATS[DrawingFormat.PNG])


@pytest.mark.parametrize("form", PROGRAM_FORMATS)
def test_without_dot_the_error_says_what_to_install_or_choose(
    form: DrawingFormat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(MissingProgramError, match=f"Drawing a {form.value} needs the program `dot`") as caught:
        draw(a_view(), form)

    assert caught.value.exit_code == 8
    assert "apt-get install graphviz" in str(caught.value.hint)
    assert "svg, html or mermaid" in str(caught.value.hint)


@pytest.mark.parametrize("form", TEXT_FORMATS)
def test_the_other_formats_need_no_program(
    form: DrawingFormat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert b"step_7" in draw(a_view(), form)


def test_what_dot_complains_of_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\necho 'no plugin for png' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(NotDrawnError, match="`dot` drew no png: no plugin for png"):
        draw(a_view(), DrawingFormat.PNG)
