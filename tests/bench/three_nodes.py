"""The pipeline that every path runs. It does next to nothing, so what is measured is the way to it and back."""


def a(x: int) -> int:
    return x + 1


def b(a: int) -> int:
    return a * 2


def c(b: int) -> int:
    return b - 1
