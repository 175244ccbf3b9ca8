"""Good messages and bad ones, in turn, from a client that has no manners."""

from collections.abc import Mapping

from paho.mqtt.enums import MQTTProtocolVersion

from chaos.hostile import hostile
from chaos.scenario import Outcome, Place, Scenario, judge
from support.device import Device

MOST_GROWTH_MB = 50.0
WARM_UP = 200
AT_ONCE = 50


def run(place: Place, messages: int) -> Outcome:
    place.stack.start()
    rude = Device(place.broker.url, protocol=MQTTProtocolVersion.MQTTv5)
    place.ask_all(range(messages, messages + WARM_UP))
    place.wait_recorded(WARM_UP, 60)
    pids, before = place.pids, place.memory_mb()
    try:
        for x in range(messages):
            topic, payload, properties = hostile(place.chance)
            rude.publish(topic, payload, **properties)
            place.ask(x)
            if x % AT_ONCE == AT_ONCE - 1:  # else it would measure how much a broker holds
                place.wait_recorded(WARM_UP + x + 1, 60)
        tally = place.tally(60)
    finally:
        rude.close()
    growth = grown(before, place.memory_mb())
    rejections = place.observer.rejections()
    return judge(
        tally,
        {"memory growth, MB": max(growth.values()), "rejections heard": sum(rejections.values())},
        {
            "all good ones succeeded": tally.states == {"succeeded": messages + WARM_UP},
            "only the good ones were executed": tally.executions == messages + WARM_UP,
            "no service exited": place.unharmed() and place.pids == pids,
            f"memory grew by at most {MOST_GROWTH_MB:g} MB": max(growth.values()) <= MOST_GROWTH_MB,
        },
    )


def grown(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return by how many MB each service has grown."""
    return {name: round(after[name] - before[name], 1) for name in before}


SCENARIOS = (
    Scenario(
        name="hostile",
        promise="1,000 hostile messages between 1,000 good ones: all good ones run, nothing exits, at most 50 MB more",
        run=run,
        full={"messages": 1000},
        short={"messages": 150},
    ),
)
