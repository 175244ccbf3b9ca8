"""How clients and services get in: passwords, TLS in both directions, and what is refused before anything is sent."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from fpbus.bus import BrokerAddress, Credentials, is_this_machine, open_bus
from fpbus.lifecycle import Settings, SettingsError, broker_of, redis_of
from support.certificates import Authority
from support.commands import Commands, Done
from support.servers import Broker, Redis, free_port, mosquitto, program, redis_server
from support.waiting import wait_for

SECRET: Final = "canary-4711"
WRONG: Final = "canary-0815"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def locked(folder: Path, *lines: str, password: str = SECRET) -> Broker:
    """A broker that lets in `ann` only."""
    made = mosquitto(folder)
    accounts = folder / "passwords"
    subprocess.run([program("mosquitto_passwd"), "-b", "-c", str(accounts), "ann", password], check=True)
    config = Path(made.command[-1])
    more = [f"password_file {accounts}", *lines]
    config.write_text(config.read_text().replace("allow_anonymous true", "\n".join(["allow_anonymous false", *more])))
    return made


def with_tls(folder: Path, authority: Authority, certificate: tuple[Path, Path], *lines: str) -> Broker:
    """The same with TLS, and this certificate."""
    return locked(folder, f"certfile {certificate[0]}", f"keyfile {certificate[1]}", *lines)


@pytest.fixture
def fpbus(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[list[Broker]]:
    started: list[Broker] = []
    yield started
    for each in started:
        each.stop()


def secure(broker: Broker) -> str:
    return broker.url.replace("mqtt://", "mqtts://")


def environment(broker: Broker, authority: Authority, **more: str) -> dict[str, str]:
    given = {"url": secure(broker), "username": "ann", "password": SECRET, "ca_file": str(authority.file)} | more
    return {f"FPBUS_MQTT_{name.upper()}": value for name, value in given.items() if value}


def told(done: Done, code: int, *words: str) -> None:
    """Check that the command ended so, in these words and without any secret."""
    assert done.code == code, done.told
    for word in words:
        assert word in done.told
    assert "canary" not in done.told + done.out
    assert "Traceback" not in done.told


# The broker.


def test_who_has_the_password_and_trusts_the_authority_gets_in(
    fpbus: Commands, brokers: list[Broker], authority: Authority, tmp_path: Path
) -> None:
    broker = with_tls(tmp_path / "b", authority, authority.issue("right")).start()
    brokers.append(broker)

    done = fpbus("ps", environment=environment(broker, authority))

    told(done, 0)


@pytest.mark.parametrize(
    ("fault", "reason", "setting"),
    [
        ("expired", "its certificate has expired", "Renew it"),
        ("other name", "its certificate is for another name", "FPBUS_MQTT_URL"),
        ("other authority", "nobody whom we trust has signed its certificate", "FPBUS_MQTT_CA_FILE"),
        ("no authority", "nobody whom we trust has signed its certificate", "FPBUS_MQTT_CA_FILE"),
        ("revoked", "its certificate has been revoked", "Have a new one made"),
    ],
)
def test_a_broker_whose_certificate_will_not_do_is_not_spoken_to(  # noqa: PLR0917 (fixtures and the table)
    fpbus: Commands, brokers: list[Broker], authority: Authority, tmp_path: Path, fault: str, reason: str, setting: str
) -> None:
    own = authority.issue(
        fault.replace(" ", "-"),
        host="10.1.2.3" if fault == "other name" else "127.0.0.1",
        lasts=timedelta(days=-1) if fault == "expired" else timedelta(days=5),
    )
    broker = with_tls(tmp_path / "b", authority, own).start()
    brokers.append(broker)
    trusted = {
        "other authority": str(Authority(tmp_path / "other", "other").file),
        "no authority": "",
        "revoked": str(authority.revoke(own[0])),
    }.get(fault, str(authority.file))

    done = fpbus("ps", environment=environment(broker, authority, ca_file=trusted))

    told(done, 5, f"No connection to mqtts://ann@127.0.0.1:{broker.port}: {reason}", setting)


@pytest.mark.parametrize(
    ("given", "code", "reason"),
    [("right", 0, ""), ("none", 5, "FPBUS_MQTT_CERT_FILE"), ("foreign", 5, "FPBUS_MQTT_CERT_FILE")],
)
def test_a_broker_that_wants_our_certificate_gets_it(  # noqa: PLR0917 (fixtures and the table)
    fpbus: Commands, brokers: list[Broker], authority: Authority, tmp_path: Path, given: str, code: int, reason: str
) -> None:
    broker = with_tls(
        tmp_path / "b",
        authority,
        authority.issue("right"),
        f"cafile {authority.file}",
        "require_certificate true",
        "use_identity_as_username true",
    )
    broker.start()
    brokers.append(broker)
    ours = {"right": authority, "foreign": Authority(tmp_path / "other", "other")}.get(given)
    files = ours.issue("ours") if ours else ("", "")

    done = fpbus(
        "ps",
        environment=environment(
            broker, authority, username="", password="", cert_file=str(files[0]), key_file=str(files[1])
        ),
    )

    told(done, code, reason)


@pytest.mark.parametrize("version", ["", "?protocol=3.1.1"])
def test_a_wrong_password_is_told_with_the_settings(
    fpbus: Commands, brokers: list[Broker], tmp_path: Path, version: str
) -> None:
    broker = locked(tmp_path / "b").start()
    brokers.append(broker)
    url = f"{broker.url}{version}"

    wrong = fpbus("ps", environment={"FPBUS_MQTT_URL": url.replace("//", f"//ann:{WRONG}@")})
    none = fpbus("ps", environment={"FPBUS_MQTT_URL": url})

    told(wrong, 5, "does not let in the user 'ann' with this password", "FPBUS_MQTT_PASSWORD_FILE")
    told(none, 5, "lets in nobody without user and password", "FPBUS_MQTT_USERNAME")


@pytest.mark.parametrize("role", ["dispatcher", "runner", "recorder", "scheduler"])
def test_a_service_with_a_wrong_password_ends_and_says_so(
    brokers: list[Broker], tmp_path: Path, redis_server: Redis, role: str
) -> None:
    broker = locked(tmp_path / "b").start()
    brokers.append(broker)
    project = Commands(tmp_path)
    project("init", "--name", "shop")

    done = project(
        "serve",
        role,
        "--project",
        "shop",
        environment={
            "FPBUS_MQTT_URL": broker.url,
            "FPBUS_REDIS_URL": redis_server.url,
            "FPBUS_MQTT_USERNAME": "ann",
            "FPBUS_MQTT_PASSWORD": WRONG,
        },
    )

    told(done, 5, "does not let in the user 'ann' with this password")


@pytest.mark.parametrize("setting", ["password_file", "ca_file", "cert_file", "key_file"])
@pytest.mark.parametrize("fault", ["missing", "garbage"])
def test_a_file_that_cannot_be_used_is_named(
    fpbus: Commands, authority: Authority, tmp_path: Path, setting: str, fault: str
) -> None:
    right = authority.issue("right")
    bad = tmp_path / "bad"
    if fault == "garbage":
        bad.write_text(f"\n{SECRET}\n")
    given = {"cert_file": str(right[0]), "key_file": str(right[1])} | {setting: str(bad)}
    nobody = Broker([], free_port(), tmp_path)

    done = fpbus("ps", environment=environment(nobody, authority, **given))

    told(done, 8, str(bad), f"FPBUS_MQTT_{setting.upper()}")


def test_a_key_with_a_passphrase_is_refused_and_nothing_asks_for_it(
    fpbus: Commands, authority: Authority, tmp_path: Path
) -> None:
    certificate, key = authority.issue("right")
    closed = tmp_path / "closed.key"
    subprocess.run(
        ["openssl", "ec", "-in", str(key), "-out", str(closed), "-aes256", "-passout", f"pass:{SECRET}"],
        check=True,
        capture_output=True,
    )
    nobody = Broker([], free_port(), tmp_path)

    done = fpbus("ps", environment=environment(nobody, authority, cert_file=str(certificate), key_file=str(closed)))

    told(done, 8, str(closed), "without a passphrase")


def test_tls_on_a_port_that_has_none_is_told(fpbus: Commands, mosquitto: Broker, authority: Authority) -> None:
    done = fpbus("ps", environment=environment(mosquitto, authority))

    told(done, 5, "Not connected to mqtts://ann@127.0.0.1")


def test_no_tls_on_a_port_that_wants_it_is_told(
    fpbus: Commands, brokers: list[Broker], authority: Authority, tmp_path: Path
) -> None:
    broker = with_tls(tmp_path / "b", authority, authority.issue("right")).start()
    brokers.append(broker)

    done = fpbus("ps", environment={"FPBUS_MQTT_URL": broker.url})

    told(done, 5, "Is this its port for TLS? Then the URL begins with mqtts://.")


def test_a_password_and_a_certificate_are_read_again_at_each_connection(
    brokers: list[Broker], authority: Authority, tmp_path: Path
) -> None:
    right, secret = authority.issue("right"), tmp_path / "secret"
    secret.write_text("first-word\n")
    broker = with_tls(tmp_path / "b", authority, right, f"cafile {authority.file}", "require_certificate true")
    brokers.append(broker)
    _set_password(broker, "first-word")
    mine = tuple(Path(shutil.copy(path, tmp_path / f"mine{path.suffix}")) for path in authority.issue("ours"))
    credentials = Credentials(
        username="ann",
        password_file=str(secret),
        ca_file=str(authority.file),
        cert_file=str(mine[0]),
        key_file=str(mine[1]),
    )
    bus = open_bus(BrokerAddress.parse(secure(broker)).with_credentials(credentials), "patient")
    broker.start()
    bus.start()
    assert bus.wait_connected(10), bus.trouble

    broker.kill()
    for new, old in zip(authority.issue("newer"), mine, strict=True):
        shutil.copy(new, old)
    _set_password(broker, "second-word")
    wait_for(lambda: not bus.connected)
    broker.start()
    wait_for(lambda: bus.trouble.startswith("refused"), what="the old password to be refused")
    secret.write_text("second-word\n")

    wait_for(lambda: bus.connected, 30, "the new password to be used")
    bus.stop()


def _set_password(broker: Broker, password: str) -> None:
    command = [program("mosquitto_passwd"), "-b", str(broker.folder / "passwords"), "ann", password]
    subprocess.run(command, check=True)


def test_a_secret_that_everybody_can_read_is_warned_about(
    fpbus: Commands, brokers: list[Broker], tmp_path: Path
) -> None:
    broker = locked(tmp_path / "b").start()
    brokers.append(broker)
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    given = {"FPBUS_MQTT_URL": broker.url, "FPBUS_MQTT_USERNAME": "ann", "FPBUS_MQTT_PASSWORD_FILE": str(secret)}

    secret.chmod(0o644)
    loose = fpbus("ps", environment=given)
    secret.chmod(0o600)
    tight = fpbus("ps", environment=given)

    told(loose, 0, f"Warning: {secret} can be read by every user of this machine")
    assert "Warning" not in tight.told


def test_the_projects_file_says_it_all(
    fpbus: Commands, brokers: list[Broker], authority: Authority, tmp_path: Path
) -> None:
    broker = with_tls(tmp_path / "b", authority, authority.issue("right")).start()
    brokers.append(broker)
    fpbus("init", "--name", "shop")
    folder = tmp_path / "shop"
    shutil.copy(authority.file, folder / "authority.pem")
    with (folder / "conf" / "project.yml").open("a") as file:
        file.write(
            f"mqtt_url: {secure(broker)}\nmqtt_username: ann\nmqtt_password: {SECRET}\nmqtt_ca_file: authority.pem\n"
        )

    told(fpbus("ps", "--project", "shop"), 0)
    shown = fpbus("pipeline", "show-summary", "--base-dir", "shop", "--format", "json")
    assert "canary" not in shown.out + shown.told


# Settings.


def read(monkeypatch: pytest.MonkeyPatch, below: dict[str, str], **variables: str) -> Settings:
    for name in os.environ:
        if name.startswith("FPBUS_"):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(f"FPBUS_{name}", value)
    return Settings.load(below)


def test_what_is_said_apart_wins_over_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    below = {"mqtt_url": f"mqtts://ann:{WRONG}@host"}

    credentials = broker_of(read(monkeypatch, below, MQTT_USERNAME="ben", MQTT_PASSWORD=SECRET)).credentials

    assert (credentials.username, credentials.password) == ("ben", SECRET)


def test_the_login_of_the_file_is_not_sent_to_the_broker_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    below = {"mqtt_url": "mqtts://ours", "mqtt_username": "ann", "mqtt_password": SECRET}

    credentials = broker_of(read(monkeypatch, below, MQTT_URL="mqtt://127.0.0.1")).credentials

    assert credentials.anonymous


def test_a_password_of_the_environment_wins_over_the_files_password_file(monkeypatch: pytest.MonkeyPatch) -> None:
    below = {"mqtt_url": "mqtts://ours", "mqtt_username": "ann", "mqtt_password_file": "/nowhere"}

    credentials = broker_of(read(monkeypatch, below, MQTT_PASSWORD=SECRET)).credentials

    assert (credentials.username, credentials.password, credentials.password_file) == ("ann", SECRET, None)


def test_settings_do_not_print_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(
        monkeypatch, {}, MQTT_URL=f"mqtts://a:{SECRET}@h", MQTT_PASSWORD=SECRET, REDIS_URL=f"rediss://:{SECRET}@h"
    )

    shown = f"{settings} {broker_of(settings)!r} {redis_of(settings).url}"

    assert "canary" not in shown


def test_a_child_process_gets_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    below = {"mqtt_url": "mqtts://h", "mqtt_password_file": "/etc/word", "allow_insecure": "1"}
    settings = read(monkeypatch, below)

    passed = {name.removeprefix("FPBUS_"): value for name, value in settings.environment().items()}

    assert read(monkeypatch, {}, **passed) == settings


# The open way.

OPEN: Final = [
    ("mqtt://broker.example", "without TLS and without user and password"),
    ("mqtt://ann:sesame@broker.example", "without TLS"),
    ("ws://ann:sesame@10.0.0.7", "without TLS"),
    ("mqtts://broker.example", "without user and password"),
]
CLOSED: Final = [
    "mqtts://ann:sesame@broker.example",
    "mqtt://localhost",
    "mqtt://127.0.0.1",
    "mqtt://127.8.0.1",
    "mqtt://[::1]",
    "mqtt://[::ffff:127.0.0.1]",
    "ws://localhost",
]


@pytest.mark.parametrize(("url", "weakness"), OPEN)
def test_an_open_way_to_a_broker_elsewhere_is_refused(url: str, weakness: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        broker_of(Settings(mqtt_url=url))

    assert f"is on another machine, {weakness};" in str(refusal.value)
    assert "allow_insecure" in (refusal.value.hint or "")
    assert "FPBUS_MQTT_URL" in (refusal.value.hint or "")
    assert "sesame" not in str(refusal.value)
    assert broker_of(Settings(mqtt_url=url, allow_insecure="1"))


@pytest.mark.parametrize("url", CLOSED)
def test_a_closed_way_is_taken(url: str) -> None:
    assert broker_of(Settings(mqtt_url=url))


@pytest.mark.parametrize(
    ("url", "weakness"),
    [
        ("redis://cache.example", "without TLS and without user and password"),
        ("redis://:sesame@cache.example:6379/0", "without TLS"),
        ("rediss://cache.example", "without user and password"),
    ],
)
def test_an_open_way_to_a_redis_elsewhere_is_refused(url: str, weakness: str) -> None:
    with pytest.raises(SettingsError, match=f"is on another machine, {weakness};") as refusal:
        redis_of(Settings(redis_url=url))

    assert "sesame" not in str(refusal.value)
    assert redis_of(Settings(redis_url=url, allow_insecure="yes"))


@pytest.mark.parametrize(
    "url", ["redis://localhost", "redis://[::1]:6379/0", "unix:///run/redis.sock", "rediss://:sesame@cache.example"]
)
def test_a_closed_way_to_redis_is_taken(url: str) -> None:
    assert redis_of(Settings(redis_url=url))


@pytest.mark.parametrize(
    "url", [f"redis://:{SECRET}/x@host", f"redis://:{SECRET}", f"redis://[{SECRET}", f"http://:{SECRET}@h", SECRET]
)
def test_what_is_no_redis_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(SettingsError, match="FPBUS_REDIS_URL is no Redis URL") as refusal:
        redis_of(Settings(redis_url=url))

    assert SECRET not in f"{refusal.value} {refusal.value.__cause__}"


def test_a_name_is_not_looked_up_to_tell_where_it_leads() -> None:
    assert not is_this_machine("localhost.example")
    assert not is_this_machine("127.0.0.1.example")
    assert is_this_machine("LOCALHOST.")


@pytest.mark.parametrize(
    "arguments", [["ps"], ["trigger", "hello"], *(["serve", role] for role in ("dispatcher", "recorder")), ["up"]]
)
def test_commands_and_services_refuse_an_open_way_and_name_the_setting(fpbus: Commands, arguments: list[str]) -> None:
    fpbus("init", "--name", "shop")
    open_way = {"FPBUS_MQTT_URL": f"mqtt://ann:{SECRET}@192.0.2.1", "FPBUS_REDIS_URL": "redis://127.0.0.1:1"}

    done = fpbus(*arguments, "--project", "shop", environment=open_way)

    told(done, 8, "The broker mqtt://ann@192.0.2.1:1883 is on another machine, without TLS;", "FPBUS_ALLOW_INSECURE=1")


def test_the_projects_file_may_allow_it(fpbus: Commands, tmp_path: Path) -> None:
    fpbus("init", "--name", "shop")
    with (tmp_path / "shop" / "conf" / "project.yml").open("a") as file:
        file.write("mqtt_url: mqtt://broker.invalid\nallow_insecure: true\n")

    done = fpbus("ps", "--project", "shop")

    told(done, 5, "Not connected to mqtt://broker.invalid:1883")


def test_what_is_neither_yes_nor_no_is_refused(fpbus: Commands) -> None:
    told(fpbus("ps", environment={"FPBUS_ALLOW_INSECURE": "perhaps"}), 8, "FPBUS_ALLOW_INSECURE is 'perhaps'")


# Redis.


def locked_redis(folder: Path, *options: str) -> Redis:
    made = redis_server(folder)
    made.command += ["--requirepass", SECRET, *options]
    return made


@pytest.mark.parametrize("role", ["dispatcher", "runner"])
@pytest.mark.parametrize("given", [{"FPBUS_REDIS_PASSWORD": WRONG}, {}], ids=["wrong", "none"])
def test_a_service_that_redis_does_not_let_in_ends_and_says_so(
    tmp_path: Path, mosquitto: Broker, role: str, given: dict[str, str]
) -> None:
    redis, project = locked_redis(tmp_path / "redis").start(), Commands(tmp_path)
    project("init", "--name", "shop")

    done = project(
        "serve",
        role,
        "--project",
        "shop",
        environment={"FPBUS_MQTT_URL": mosquitto.url, "FPBUS_REDIS_URL": redis.url, **given},
    )
    redis.stop()

    told(done, 5, f"{redis.url} does not let us in", "FPBUS_REDIS_PASSWORD_FILE")


def test_a_password_of_redis_is_read_again_at_each_connection(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("first\n")
    address = redis_of(
        Settings(redis_url="redis://127.0.0.1", redis_username="dispatcher", redis_password_file=str(secret))
    )
    login = address.options["credential_provider"]
    said = [login.get_credentials()]

    for new in ("second", ""):  # the last one is being written
        secret.write_text(new)
        said.append(login.get_credentials())

    assert said == [("dispatcher", "first"), ("dispatcher", "second"), ("dispatcher", "second")]


def test_a_dispatcher_gets_to_redis_with_tls_and_a_password_from_a_file(
    tmp_path: Path, mosquitto: Broker, authority: Authority
) -> None:
    certificate, key = authority.issue("redis")
    secure_port, secret = free_port(), tmp_path / "secret"
    secret.write_text(SECRET)
    options = ["--tls-port", str(secure_port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    redis = locked_redis(tmp_path / "redis", *options, "--tls-ca-cert-file", str(authority.file)).start()
    project = Commands(tmp_path)
    project("init", "--name", "shop")
    mine = authority.issue("mine")
    given = {
        "FPBUS_MQTT_URL": mosquitto.url,
        "FPBUS_REDIS_URL": f"rediss://127.0.0.1:{secure_port}/0",
        "FPBUS_REDIS_PASSWORD_FILE": str(secret),
        "FPBUS_REDIS_CA_FILE": str(authority.file),
        "FPBUS_REDIS_CERT_FILE": str(mine[0]),
        "FPBUS_REDIS_KEY_FILE": str(mine[1]),
        "FPBUS_PROJECT": "shop",
    }
    serving = subprocess.Popen(
        [sys.executable, "-m", "fpbus", "serve", "dispatcher"],
        cwd=tmp_path,
        env={**project.environment, **given},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    untrusted = project("serve", "dispatcher", environment={**given, "FPBUS_REDIS_CA_FILE": ""})

    assert serving.stdout is not None
    said = next((line for line in serving.stdout if re.match(r"ready |Error", line)), "")
    serving.terminate()
    serving.communicate(timeout=40)
    redis.stop()
    assert said.startswith("ready role=dispatcher")
    told(untrusted, 5, "nobody whom we trust has signed its certificate", "FPBUS_REDIS_CA_FILE")
