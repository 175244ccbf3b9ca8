"""A broker that will not let us in, however long we wait: somebody has to change a setting."""

from fpbus.schemas import FpbusError

from .address import BrokerAddress


class BrokerRefusedError(FpbusError):
    """Wrong user or password, or a certificate that will not do; the hint names the settings."""

    exit_code = 5


def not_let_in(address: BrokerAddress, reason: str) -> BrokerRefusedError:
    """Explain the broker's own answer, such as `Not authorized`."""
    credentials = address.credentials
    if credentials.anonymous:
        return BrokerRefusedError(
            f"{address} lets in nobody without user and password ({reason}).",
            "Set FPBUS_MQTT_USERNAME and FPBUS_MQTT_PASSWORD_FILE, or `mqtt_username` and `mqtt_password_file` in "
            "conf/project.yml.",
        )
    source = f"the password in {credentials.password_file}" if credentials.password_file else "this password"
    who = f"the user {credentials.username!r}" if credentials.username else "us"
    return BrokerRefusedError(
        f"{address} does not let in {who} with {source} ({reason}).",
        "Check FPBUS_MQTT_USERNAME and FPBUS_MQTT_PASSWORD_FILE, or user and password in FPBUS_MQTT_URL, or the same "
        "keys in conf/project.yml.",
    )
