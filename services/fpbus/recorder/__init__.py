"""The recorder: remembers what became of every run, says so, and answers questions about it."""

from .service import serve as serve
