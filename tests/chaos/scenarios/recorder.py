"""The recorder is killed again and again, and once its disk is full."""

import resource

import psutil

from chaos.load import load, milestones
from chaos.scenario import Outcome, Place, Scenario, judge

ROOM_BYTES = 4096
ENDLESS = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def run(place: Place, runs: int, kills: int) -> Outcome:
    place.stack.start()
    full_at = place.chance.randrange(kills + 1)
    with load(place, runs):
        for number in milestones(place, runs, kills + 1):
            if number == full_at:
                _fill_disk(place)
            else:
                place.stack.kill("recorder")
                with place.recovering(place.recorded):
                    place.stack.processes["recorder"].start().wait_ready()
    tally = place.tally(120)
    return judge(
        tally,
        {"kills": kills, "disk full": 1},
        {
            f"{runs:,} are recorded": tally.recorded == runs,
            "all succeeded": tally.states == {"succeeded": runs},
            "no service exited by itself": place.unharmed(),
        },
    )


def _fill_disk(place: Place) -> None:
    """Let no file of the recorder grow any further, as a full disk does, until it has noticed; then give it room."""
    recorder = psutil.Process(place.pids["recorder"])
    largest = max(path.stat().st_size for path in (place.stack.project / ".fpbus").glob("history.db*"))
    place.tell(f"the disk is full after {place.recorded()} records")
    log = place.stack.processes["recorder"].log
    was = log.read_text().count("not recording")
    recorder.rlimit(psutil.RLIMIT_FSIZE, (largest + ROOM_BYTES, resource.RLIM_INFINITY))
    place.wait(lambda: log.read_text().count("not recording") > was, 60, "the recorder's notice")
    with place.recovering(place.recorded):
        recorder.rlimit(psutil.RLIMIT_FSIZE, ENDLESS)


SCENARIOS = (
    Scenario(
        name="recorder",
        promise="Recorder killed 20 times over 10,000 results, its disk full once: 10,000 recorded, none twice",
        run=run,
        full={"runs": 10_000, "kills": 20},
        short={"runs": 400, "kills": 1},
    ),
)
