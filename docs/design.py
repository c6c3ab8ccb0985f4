"""Draw the rooms of the package and who imports whom, from the code: `make picture`.

    python docs/design.py [OUTPUT.svg]

A room is a folder of `jaxflow/`, or a module at its top. It stands one floor above the highest room
that it imports; an arrow leads from a room to each that it imports, except those that it reaches
by another arrow as well.
"""

import ast
import sys
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

PACKAGE = Path(__file__).resolve().parents[1] / "jaxflow"
OUTPUT = Path(__file__).with_name("design.svg")
_WIDTH, _BOX, _HEIGHT, _FLOOR, _GAP = 1000, 44, 40, 90, 60


def imports(package: Path = PACKAGE) -> dict[str, set[str]]:
    """Return for each room the rooms that it imports."""
    graph: dict[str, set[str]] = {}
    for path in sorted(package.rglob("*.py")):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        if room.startswith("__"):
            continue
        targets = graph.setdefault(room, set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                targets |= {_room(f"{node.module}.{alias.name}") for alias in node.names}
            elif isinstance(node, ast.Import):
                targets |= {_room(alias.name) for alias in node.names}
    return {room: {t for t in targets if t in graph} - {room} for room, targets in graph.items()}


def _room(name: str) -> str:
    first, _, rest = name.partition(".")
    return rest.partition(".")[0] if first == "jaxflow" else ""


def floors(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the rooms of each floor, the lowest first."""
    heights: dict[str, int] = {}

    def height(room: str) -> int:
        if room not in heights:
            heights[room] = 1 + max(map(height, graph[room]), default=-1)
        return heights[room]

    for room in graph:
        height(room)
    return [
        sorted(room for room in graph if heights[room] == floor)
        for floor in range(1 + max(heights.values()))
    ]


def arrows(graph: Mapping[str, set[str]]) -> list[tuple[str, str]]:
    """Return who imports whom, without what is reached on another way too."""

    def reached(room: str) -> set[str]:
        return graph[room].union(*map(reached, graph[room]))

    return [
        (room, target)
        for room in graph
        for target in sorted(graph[room])
        if not any(target in reached(other) for other in graph[room] - {target})
    ]


def draw(graph: Mapping[str, set[str]], package: Path = PACKAGE) -> str:
    """Return the picture as SVG: each floor in the order of the rooms that import it."""
    levels, above = floors(graph), arrows(graph)
    places: dict[str, tuple[float, float, float]] = {}

    def below_importers(room: str) -> float:
        centers = [places[a][0] + places[a][2] / 2 for a, b in above if b == room]
        return sum(centers) / len(centers) if centers else 0.0

    for row, rooms in enumerate(reversed(levels)):  # From the top: importers have their places.
        ordered = sorted(rooms, key=below_importers)
        widths = [_BOX + 9 * len(room) for room in ordered]
        left = (_WIDTH - sum(widths) - _GAP * (len(rooms) - 1)) / 2
        for room, width in zip(ordered, widths, strict=True):
            places[room] = (left, _FLOOR * row + 10, width)
            left += width + _GAP
    lines = [_arrow(places[a], places[b]) for a, b in above]
    boxes = [_box(room, place, _says(package, room)) for room, place in places.items()]
    height = _FLOOR * (len(levels) - 1) + _HEIGHT + 20
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
            'font-family="sans-serif" font-size="15">',
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#8b949e"/></marker>',
            "</defs>",
            f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
            *lines,
            *boxes,
            "</svg>\n",
        ]
    )


def _says(package: Path, room: str) -> str:
    """Return the first sentence of a room's docstring."""
    path = package / f"{room}.py"
    source = path if path.exists() else package / room / "__init__.py"
    return (ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "").split("\n")[0]


def _arrow(start: tuple[float, float, float], end: tuple[float, float, float]) -> str:
    x, y = start[0] + start[2] / 2, start[1] + _HEIGHT
    u, v = end[0] + end[2] / 2, end[1]
    bend = (v - y) / 2
    return (
        f'<path d="M{x:.0f} {y:.0f} C{x:.0f} {y + bend:.0f} {u:.0f} {v - bend:.0f} {u:.0f} '
        f'{v - 2:.0f}" fill="none" stroke="#8b949e" marker-end="url(#tip)"/>'
    )


def _box(room: str, place: tuple[float, float, float], says: str) -> str:
    left, top, width = place
    folder = (PACKAGE / room).is_dir()
    fill = "#ddf4ff" if folder else "#fff8c5"
    name = room + "/" if folder else room
    return (
        f"<g><title>{escape(says)}</title>"
        f'<rect x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{_HEIGHT}" rx="6" '
        f'fill="{fill}" stroke="#57606a"/>'
        f'<text x="{left + width / 2:.0f}" y="{top + 25:.0f}" text-anchor="middle">'
        f"{escape(name)}</text></g>"
    )


if __name__ == "__main__":
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT
    output.write_text(draw(imports()), encoding="utf-8")
