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
        the_pill_was_not_tried_three_times=tries == 3,
        not_all_others_succeeded=tally.states == {"dead": 1, "succeeded": others},
        a_service_exited=place.unharmed(),
    )


SCENARIO = Scenario(
    name="pill",
    promise="A pill that kills its worker each time is dead after 3 attempts; 200 others succeed",
    run=run,
    full={"others": 200},
    short={"others": 200},
)
