"""Add a function to a Python file that may hold others: at the end, with what it imports at the top."""

import ast
import symtable
from collections.abc import Sequence
from pathlib import Path

from .errors import ProjectError


class FileNotUsableError(ProjectError):
    """A file to which nothing can be added as it is. Nothing was changed."""


def with_function(path: Path, function: str, text: str, importing: str, names: Sequence[str]) -> str:
    """Return what `path` holds, followed by `text`, which defines `function`.

    `importing`, as `from somewhere import `, is written at the top for those `names` that the file has not imported
    yet. Lines end as they do in the file. Raises `FileNotUsableError`.
    """
    old = _read(path)
    tree, bound = _parse(old, path)
    missing = sorted(set(names) - _imported(tree, importing))
    for name in (function, *missing):
        if name in bound:
            raise FileNotUsableError(f"{path} has something named {name!r} already.", "Nothing was changed.")
    end = "\r\n" if "\r\n" in old else "\n"
    lines = old.replace("\r\n", "\n").rstrip().split("\n") if old.strip() else []
    if missing:
        _insert(lines, _top(tree, lines), f"{importing}{', '.join(missing)}")
    return "\n".join([*lines, "", "", text]).lstrip("\n").replace("\n", end)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise FileNotUsableError(f"{path} cannot be read: {error}.") from error


def _parse(text: str, path: Path) -> tuple[ast.Module, set[str]]:
    """Return the syntax tree of a file, and all names that it binds at its top level."""
    try:
        symbols = symtable.symtable(text, str(path), "exec").get_symbols()
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:  # ValueError: a null byte
        line = getattr(error, "lineno", None) or 1
        raise FileNotUsableError(f"{path}:{line} is no Python: {error}.", "Nothing was changed.") from error
    return tree, {symbol.get_name() for symbol in symbols if symbol.is_assigned() or symbol.is_imported()}


def _imported(tree: ast.Module, importing: str) -> set[str]:
    module = importing.split()[1]
    statements = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == module]
    return {alias.name for node in statements for alias in node.names if alias.asname in (None, alias.name)}


def _top(tree: ast.Module, lines: Sequence[str]) -> int:
    """Return before which line imports stand: after comments, the docstring and imports from `__future__`."""
    after = 0
    for number, node in enumerate(tree.body):
        docstring = number == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not docstring and not (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
            decorators: list[ast.expr] = getattr(node, "decorator_list", [])
            return max(after, min([node.lineno, *(decorator.lineno for decorator in decorators)]) - 1)
        after = node.end_lineno or after
    return len(lines)


def _insert(lines: list[str], at: int, line: str) -> None:
    """Put a line before the one at `at`, with an empty line above it where something stands there."""
    follows_imports = at < len(lines) and lines[at].startswith(("import ", "from "))
    above = [""] if at > 0 and lines[at - 1].strip() else []
    below = [] if follows_imports or at == len(lines) else ["", ""]
    lines[at:at] = [*above, line, *below]
