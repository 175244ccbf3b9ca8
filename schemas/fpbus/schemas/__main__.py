"""Print the JSON Schema of all messages: `python -m fpbus.schemas`."""

import sys

from msgspec.json import encode, format  # noqa: A004 (msgspec's own name)

from . import json_schema

sys.stdout.buffer.write(format(encode(json_schema()), indent=2) + b"\n")
