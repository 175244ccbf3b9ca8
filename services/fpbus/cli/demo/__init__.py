"""`fpbus demo`: the whole system, a device that knows MQTT only, and a screen that tells what happens.

`project/` holds the files of the demo's own project: two pipelines, and the device.
"""

from .command import demo as demo
