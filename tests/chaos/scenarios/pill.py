"""A run that always kills its worker, among others that do no harm."""

from chaos.scenario import Outcome, Place, Scenario, judge

PILL = 1_000_000


def run(place: Place, others: int) -> Outcome:
    place.stack.configure("runner: {workers: 2}\n")
    place.stack.start()
    place.ask_all(range(others // 2))
    place.ask(PILL, "pill")
    place.ask_all(range(others // 2, others))

    tally = place.tally(120)

    tries = len(place.marks.of(PILL))
    return judge(
        tally,
        {"tries of the pill": tries},
        {
            "the pill was tried 3 times": tries == 3,
            "all others succeeded": tally.states == {"dead": 1, "succeeded": others},
            "no service exited": place.unharmed(),
        },
    )


SCENARIOS = (
    Scenario(
        name="pill",
        promise="A pill that kills its worker each time is dead after 3 attempts; 200 others succeed",
        run=run,
        full={"others": 200},
        short={"others": 200},
    ),
)
