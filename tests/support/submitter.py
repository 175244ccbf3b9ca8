"""A process that asks for one run, to be killed or kept from writing."""

import resource
import sys

from fpbus.control import Control
from fpbus.lifecycle import Settings
from fpbus.schemas import FpbusError, RunRequest


def main() -> int:
    """Ask at the broker `url` for a run of `hello` with `run_id`; files may have `most` bytes where that is given."""
    url, run_id, *most = sys.argv[1:]
    if most:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(most[0]), int(most[0])))
    try:
        with Control.connect(Settings(mqtt_url=url), timeout_s=60) as control:
            control.submit("hello", RunRequest(run_id=run_id))
    except FpbusError as error:
        print(error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
