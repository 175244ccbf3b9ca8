"""`when:`, a condition over the facts of a message. It can compare and compute; there is no way out of it."""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from simpleeval import DEFAULT_OPERATORS, InvalidExpression, SimpleEval  # type: ignore[import-untyped]

from fpbus.schemas import RejectionCode
from fpbus.schemas.triggers import parse_condition

from .verdicts import Facts, PassedError, RefusedError

_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "abs": abs,
    "float": float,
    "int": int,
    "len": len,
    "lower": str.lower,
    "max": max,
    "min": min,
    "round": round,
    "str": str,
    "upper": str.upper,
    "startswith": str.startswith,
    "endswith": str.endswith,
}
# `is` is not on the library's list, and people write `payload.x is None`.
_OPERATORS: Final = {**DEFAULT_OPERATORS, ast.Is: operator.is_, ast.IsNot: operator.is_not}


class _MissingError(LookupError):
    """The message has not what the condition asks for."""


class Condition:
    """A condition, read once. Used by one thread."""

    def __init__(self, text: str, captures: list[str]) -> None:
        self._text = text
        self._parsed = parse_condition(text, captures)
        self._evaluator = _Evaluator(operators=_OPERATORS, functions=dict(_FUNCTIONS))

    def check(self, facts: Facts) -> None:
        """Return where it holds.

        Raises `PassedError` where it does not, or asks for what the message has not; `RefusedError` where it cannot
        be computed, as for a text that is compared with a number.
        """
        self._evaluator.names = dict(facts)
        try:
            holds = self._evaluator.eval(self._text, previously_parsed=self._parsed)
        except _MissingError as error:
            raise PassedError(f"it has no {error}") from None
        except (InvalidExpression, TypeError, ValueError, ArithmeticError, RecursionError) as error:
            message = f"The condition {self._text!r} cannot be computed: {error}."
            raise RefusedError(RejectionCode.INVALID_PAYLOAD, message, "$") from None
        if not holds:
            raise PassedError(f"{self._text!r} does not hold")


class _Evaluator(SimpleEval):  # type: ignore[misc]  # the library has no hints
    """A dot is a name in a mapping, never an attribute of a Python object."""

    def _eval_attribute(self, node: ast.Attribute) -> Any:
        return _item(self._eval(node.value), node.attr, node)

    def _eval_subscript(self, node: ast.Subscript) -> Any:
        return _item(self._eval(node.value), self._eval(node.slice), node)

    def _eval_list(self, node: ast.List | ast.Tuple) -> list[Any]:
        return [self._eval(each) for each in node.elts]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.nodes: dict[type[ast.AST], Callable[[Any], Any]] = {
            **self.nodes,
            ast.Attribute: self._eval_attribute,
            ast.Subscript: self._eval_subscript,
            ast.List: self._eval_list,
            ast.Tuple: self._eval_list,
        }


def _item(value: Any, name: Any, node: ast.expr) -> Any:
    try:
        if isinstance(value, Mapping) or (isinstance(value, list) and isinstance(name, int)):
            return value[name]
    except (LookupError, TypeError):
        pass
    raise _MissingError(ast.unparse(node))
