"""What the broker's accounts may do, as far as it comes from the project."""

from fpbus.schemas import TriggerConfig
from fpbus.supervisor.rights import acl_text, services


def test_the_services_may_hear_and_answer_what_triggers_name_whatever_the_root() -> None:
    triggers = [
        TriggerConfig(topic="zigbee2mqtt/{device}", reply_to="answers/{device}/now"),
        TriggerConfig(topic="tele/+/SENSOR"),
    ]

    rights = {text.splitlines()[0]: set(text.splitlines()) for text in acl_text(services(triggers), "s").split("\n\n")}

    assert {"topic read zigbee2mqtt/+", "topic read tele/+/SENSOR"} < rights["user dispatcher"]
    for name in ("user dispatcher", "user runner"):
        assert "topic write answers/+/now" in rights[name]
    assert not any("answers" in line or "zigbee2mqtt" in line for line in rights["user recorder"])
    assert not any("zigbee2mqtt" in line for line in rights["user runner"])
