"""What `fpbus up` decides before it starts anything."""

from pathlib import Path

import pytest

from fpbus.bus import AddressError
from fpbus.lifecycle import Settings
from fpbus.supervisor import MissingServerError, Programs, plan_services
from fpbus.supervisor.keeper import next_delay
from fpbus.supervisor.servers import choose_broker, choose_redis, mosquitto_conf, redis_options, without_password

SETTINGS = Settings(
    mqtt_url="mqtt://127.0.0.1:1884", redis_url="redis://127.0.0.1:6380/0", project="/srv/shop", instance="edge-1"
)
NOTHING = Programs(mosquitto=None, redis=None)


def test_services_start_from_the_end_of_the_path_so_that_they_stop_ingress_first() -> None:
    plan = plan_services(SETTINGS, workers=None, activate_schedules=False)

    assert [spec.name for spec in plan] == ["recorder", "runner", "dispatcher", "scheduler"]


def test_every_service_is_told_the_same_settings_and_its_instance() -> None:
    plan = plan_services(SETTINGS, workers=None, activate_schedules=False, fpbus=("fpbus",))

    assert all(spec.environment == SETTINGS.environment() for spec in plan)
    assert plan[0].command == ("fpbus", "serve", "recorder", "--instance", "edge-1")


def test_only_the_runner_is_told_how_many_workers_and_only_the_scheduler_to_activate_schedules() -> None:
    recorder, runner, dispatcher, scheduler = plan_services(
        SETTINGS, workers=4, activate_schedules=True, fpbus=("fpbus",)
    )

    assert runner.command[-2:] == ("--workers", "4")
    assert scheduler.command[-1:] == ("--schedule",)
    assert len(recorder.command) == len(dispatcher.command) == 5


def test_a_profile_has_the_four_services_too_and_a_runner_its_grace() -> None:
    plan = plan_services(
        SETTINGS, workers=4, activate_schedules=False, profiles=["gpu"], runner_grace_s=100, fpbus=("fpbus",)
    )

    assert [spec.name for spec in plan][:4] == ["recorder", "recorder-gpu", "runner", "runner-gpu"]
    assert plan[3].command == ("fpbus", "serve", "runner", "--instance", "edge-1", "--name", "gpu")
    assert [spec.grace_s > 100 for spec in plan] == [False, False, True, True, False, False, False, False]


def test_a_configured_url_means_that_no_server_is_started(tmp_path: Path) -> None:
    broker = choose_broker(SETTINGS, NOTHING, tmp_path)
    redis = choose_redis(SETTINGS, NOTHING, tmp_path)

    assert (broker.program, broker.url, broker.process) == ("external", SETTINGS.mqtt_url, None)
    assert (redis.program, redis.url, redis.process) == ("external", SETTINGS.redis_url, None)
    assert list(tmp_path.iterdir()) == []


def test_a_broker_url_that_cannot_be_used_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(AddressError, match="no broker URL"):
        choose_broker(Settings(mqtt_url="http://127.0.0.1"), NOTHING, tmp_path)


def test_without_mosquitto_the_broker_is_amqtt_and_its_promise_says_so(tmp_path: Path) -> None:
    broker = choose_broker(Settings(), NOTHING, tmp_path)

    assert broker.program == "amqtt"
    assert "memory only" in broker.promise


def test_without_any_redis_the_error_names_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(MissingServerError) as refusal:
        choose_redis(Settings(), NOTHING, tmp_path)

    assert refusal.value.exit_code == 8
    assert "apt install redis-server" in str(refusal.value.hint)
    assert "pip install 'fpbus[embedded]'" in str(refusal.value.hint)


def test_mosquitto_listens_on_loopback_only_and_drops_nothing() -> None:
    lines = mosquitto_conf(1883, Path("/srv/a shop/.fpbus/mosquitto"), as_root=False).splitlines()

    assert "listener 1883 127.0.0.1" in lines
    assert "persistence_location /srv/a shop/.fpbus/mosquitto/" in lines
    assert {"persistence true", "max_queued_messages 0", "set_tcp_nodelay true"} <= set(lines)
    assert "max_packet_size 1114112" in lines


def test_mosquitto_stays_root_when_root_started_it_because_the_files_are_roots() -> None:
    folder = Path("/srv/shop/.fpbus/mosquitto")

    assert "user root" in mosquitto_conf(1883, folder, as_root=True).splitlines()
    assert "user root" not in mosquitto_conf(1883, folder, as_root=False).splitlines()


def test_redis_listens_on_loopback_only_writes_every_change_and_evicts_nothing() -> None:
    options = redis_options(6380, Path("/srv/shop/.fpbus/redis"))

    named = dict(zip(options[::2], options[1::2], strict=True))
    assert named["--bind"] == "127.0.0.1"
    assert (named["--appendonly"], named["--save"]) == ("yes", "")
    assert named["--maxmemory-policy"] == "noeviction"


def test_a_url_on_the_screen_has_no_password() -> None:
    assert without_password("redis://me:secret@db:6379/0") == "redis://db:6379/0"


def test_a_process_that_keeps_dying_is_started_less_and_less_often_up_to_every_ten_seconds() -> None:
    delays = [0.0]
    for _ in range(8):
        delays.append(next_delay(delays[-1], lived_s=0.1))

    assert delays[1:] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_a_process_that_lived_half_a_minute_is_started_again_at_once() -> None:
    assert next_delay(10.0, lived_s=30.0) == 0.2
