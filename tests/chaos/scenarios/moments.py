"""The dispatcher dies at the three moments that matter: before it enqueues, after it, and before its ack is heard.

Every second message has no run id: then only the broker's packet id tells a redelivery from a new message.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial

from chaos.place import key_of
from chaos.proxy import Proxy
from chaos.scenario import Outcome, Place, Scenario, judge
from support.stack import Process

Wait = Callable[[], bool]
#: Publishes one run, and returns what tells that its moment has come.
Bring = Callable[[Place, Proxy, int], Wait]

PATIENCE_S = 30


def before_enqueue(place: Place, redis: Proxy, x: int) -> Wait:
    trap = redis.trap(key_of(x).encode(), "request")
    place.ask(x, named=x % 2 == 0)
    return trap.sprung.is_set


def reply_withheld(place: Place, redis: Proxy, x: int) -> Wait:
    trap = redis.trap(key_of(x).encode(), "reply")
    place.ask(x, named=x % 2 == 0)
    return trap.sprung.is_set


def puback_withheld(place: Place, broker: Proxy, x: int) -> Wait:
    """From now on no message is acknowledged: each dispatcher gets all those of its forerunners again."""
    broker.withholds_pubacks = True
    place.ask(x, named=x % 2 == 0)
    return lambda: any(key_of(x) == body.get("key") for body in place.observer.accepted().values())


def run(place: Place, kills: int, *, bring: Bring, between: str) -> Outcome:
    """Bring about the moment, kill the dispatcher in it, and go on with the standby, again and again."""
    server = place.redis if between == "FPBUS_REDIS_URL" else place.broker
    proxy = Proxy(server.port, "bytes" if server is place.redis else "mqtt")
    through = server.url.replace(str(server.port), str(proxy.port))
    start = partial(_start, place, {between: through})
    place.stack.start("recorder", "runner")
    active = start(0)
    killed_at: dict[int, float] = {}
    active.wait_ready()
    for x in range(kills):
        standby = start(x + 1)
        reached = place.wait(bring(place, proxy, x), PATIENCE_S, f"the moment of run {x}")
        standby.wait_ready()
        active.kill()
        if reached:
            killed_at[x] = time.time()
        active = standby
        if x % 10 == 9:
            place.tell(f"{x + 1} kills, {place.recorded()} recorded")
    proxy.withholds_pubacks = False
    proxy.hang_up()
    place.wait_recorded(kills, 60)
    place.recoveries += _recoveries(place, killed_at)
    tally = place.tally()
    proxy.close()
    return judge(
        tally,
        {"moments reached": len(killed_at)},
        {
            f"executions are exactly {kills}": tally.executions == tally.asked == kills,
            "every kill met its moment": len(killed_at) == kills,
            "all succeeded": tally.states == {"succeeded": kills},
        },
    )


def _start(place: Place, environment: Mapping[str, str], number: int) -> Process:
    return place.process("dispatcher", "--instance", f"d{number % 2}", name=f"d{number % 2}", **environment)


def _recoveries(place: Place, killed_at: Mapping[int, float]) -> list[float]:
    """Return how long each run waited since the last kill that hit it; in one batch with others it may meet several."""
    began = {mark.x: mark.at for mark in place.marks.all() if mark.what == "begun"}
    waits = [[began[x] - at for at in killed_at.values() if killed_at[x] <= at < began[x]] for x in killed_at]
    return [min(since) for since in waits if since]


def _scenario(name: str, what: str, bring: Bring, between: str) -> Scenario:
    return Scenario(
        name=name,
        promise=f"Dispatcher killed {what}, 100 times: executions exactly 100",
        run=partial(run, bring=bring, between=between),
        full={"kills": 100},
        short={"kills": 5},
    )


SCENARIOS = (
    _scenario("before-enqueue", "before it enqueues", before_enqueue, "FPBUS_REDIS_URL"),
    _scenario("reply-withheld", "with the reply of Redis withheld", reply_withheld, "FPBUS_REDIS_URL"),
    _scenario("puback-withheld", "with its PUBACK withheld", puback_withheld, "FPBUS_MQTT_URL"),
)
