"""How the settings of one run lie over a pipeline's configuration, and what is tried again."""

import json
from typing import Any

import msgspec
import pytest

from fpbus.pipelines import RetryRule, imported, loaded
from fpbus.schemas import CacheConfig, ExecutorConfig, RunConfig, RunSettings, lay

CONFIGURED = msgspec.convert(
    {
        "inputs": {"a": 1, "b": {"x": 1}},
        "config": {"mode": "slow", "size": 3},
        "executor": {"type": "local", "max_workers": 3},
        "with_adapter": {"hamilton_tracker": True, "mlflow": True},
        "cache": {"recompute": ["raw"]},
        "max_retries": 3,
        "retry_delay": 7.0,
        "final_vars": ["out"],
    },
    RunConfig,
)


def test_a_partial_override_changes_only_what_it_names() -> None:
    run = CONFIGURED.override(RunSettings(executor="threadpool", with_adapter={"mlflow": False}))
    assert run.executor == ExecutorConfig(type="threadpool", max_workers=3)
    assert run.with_adapter == {"hamilton_tracker": True, "mlflow": False}
    assert (
        msgspec.structs.replace(run, executor=CONFIGURED.executor, with_adapter=CONFIGURED.with_adapter) == CONFIGURED
    )


def test_inputs_and_configuration_merge_by_name_and_their_values_are_whole() -> None:
    run = CONFIGURED.override(RunSettings(inputs={"b": {"y": 2}}, config={"mode": "fast"}))
    assert run.inputs == {"a": 1, "b": {"y": 2}}
    assert run.config == {"mode": "fast", "size": 3}


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        (RunSettings(max_retries=0), "max_retries", 0),
        (RunSettings(retry_delay=0.0), "retry_delay", 0.0),
        (RunSettings(cache=False), "cache", False),
        (RunSettings(final_vars=[]), "final_vars", []),
    ],
)
def test_zero_false_and_empty_are_values(settings: RunSettings, name: str, value: object) -> None:
    assert getattr(CONFIGURED.override(settings), name) == value


def test_cache_true_switches_configured_settings_on_again() -> None:
    assert CONFIGURED.override(RunSettings(cache=True)).cache == CacheConfig(recompute=["raw"])
    assert lay({"cache": False}, {"cache": True})["cache"] is True
    assert lay({"cache": True}, {"cache": {"recompute": ["x"]}})["cache"] == {"recompute": ["x"]}


def test_no_settings_leave_the_configuration_itself() -> None:
    assert CONFIGURED.override(RunSettings()) is CONFIGURED


@pytest.mark.parametrize("settings", [RunSettings(executor="quantum"), RunSettings(cache={"recompte": []})])
def test_settings_that_do_not_fit_are_refused(settings: RunSettings) -> None:
    with pytest.raises(msgspec.ValidationError):
        CONFIGURED.override(settings)


def test_inputs_may_be_any_object() -> None:
    thing = object()
    assert CONFIGURED.override(RunSettings(inputs={"a": thing})).inputs["a"] is thing


def test_settings_are_built_fluently_and_each_step_leaves_the_one_before_alone() -> None:
    first = RunSettings().with_inputs(a=1)
    built = (
        first.with_inputs(b=2)
        .with_final_vars("out")
        .with_config(mode="x")
        .with_cache(recompute=["raw"])
        .with_executor("threadpool", max_workers=2)
        .with_adapter_switched(mlflow=True)
        .with_retries(2, delay=0.5, jitter=0.1, on=["ValueError"])
        .with_log_level("DEBUG")
    )
    assert first == RunSettings(inputs={"a": 1})
    assert built == RunSettings(
        inputs={"a": 1, "b": 2},
        final_vars=["out"],
        config={"mode": "x"},
        cache={"recompute": ["raw"]},
        executor={"type": "threadpool", "max_workers": 2},
        with_adapter={"mlflow": True},
        max_retries=2,
        retry_delay=0.5,
        jitter_factor=0.1,
        retry_exceptions=["ValueError"],
        log_level="DEBUG",
    )


def rule(**settings: Any) -> RetryRule:
    return RetryRule.of(msgspec.convert({"max_retries": 3, **settings}, RunConfig), imported)


def test_the_defaults_are_one_try_five_seconds_no_jitter_and_every_exception() -> None:
    assert RetryRule.of(RunConfig()) == RetryRule(most=0, delay_s=5.0, jitter=0.0, backoff=1.0, names=())
    assert RetryRule.of(RunConfig()).delay_after(1, ValueError(), 0) is None


def test_max_retries_counts_the_tries_after_the_first() -> None:
    assert [rule().delay_after(tries, ValueError(), 0) for tries in (1, 2, 3, 4)] == [5.0, 5.0, 5.0, None]


def test_jitter_moves_the_delay_both_ways_and_backoff_stretches_it() -> None:
    jittered = rule(retry_delay=10, jitter_factor=0.2)
    assert [jittered.delay_after(1, ValueError(), chance) for chance in (-1, 0, 1)] == [8.0, 10.0, 12.0]
    assert [rule(retry_delay=1, backoff=3).delay_after(tries, ValueError(), 0) for tries in (1, 2, 3)] == [1, 3, 9]


class TransientDatabaseError(Exception): ...


class LostConnectionError(TransientDatabaseError): ...


@pytest.mark.parametrize(
    ("name", "error", "again"),
    [
        ("ValueError", ValueError(), True),
        ("ValueError", KeyError(), False),
        ("LookupError", KeyError(), True),
        ("json.JSONDecodeError", json.JSONDecodeError("", "", 0), True),  # defined in json.decoder
        ("json.JSONDecodeError", ValueError(), False),
        ("TransientDatabaseError", LostConnectionError(), True),
        ("not_installed.TransientDatabaseError", TransientDatabaseError(), True),
        ("not_installed.Other", TransientDatabaseError(), False),
        ("os.path", ValueError(), False),
    ],
)
def test_exceptions_are_meant_by_class_else_by_name(name: str, error: Exception, *, again: bool) -> None:
    assert (rule(retry_exceptions=[name]).delay_after(1, error, 0) is not None) is again


def test_a_message_cannot_have_a_module_imported() -> None:
    run = RunConfig(max_retries=1, retry_exceptions=["antigravity.Error", "this.Error"])
    assert RetryRule.of(run, loaded).names == ("antigravity.Error", "this.Error")
    import sys

    assert "antigravity" not in sys.modules
    assert "this" not in sys.modules
