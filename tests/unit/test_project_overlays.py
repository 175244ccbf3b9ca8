"""The environment: over the files with two underscores, and in them as `${VAR}`."""

from pathlib import Path

import pytest

from fpbus.project import ProjectError, find_faults, load_pipeline, load_pipelines, load_project
from fpbus.schemas import CacheConfig, CustomAdapterConfig, ExecutorConfig


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conf/pipelines").mkdir(parents=True)
    return write(tmp_path)


def write(folder: Path, pipeline: str = "", project: str = "name: shop\n") -> Path:
    (folder / "conf/project.yml").write_text(project)
    (folder / "conf/pipelines/orders.yml").write_text(pipeline)
    return folder


def load_all(folder: Path) -> None:
    load_project(folder)
    load_pipelines(folder)


def test_an_adapter_of_the_projects_own_stands_beside_an_overlay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "adapter: {custom: {audit: {type: hooks.audit.Audit}}}\nrun: {with_adapter: {audit: true}}\n")
    monkeypatch.setenv("FPBUS_ADAPTER__CUSTOM__AUDIT__OPTIONS", '{"loud": true}')
    config = load_pipeline(folder, "orders")
    assert config.adapter.custom == {"audit": CustomAdapterConfig(type="hooks.audit.Audit", options={"loud": True})}


def test_in_the_run_section_an_overlay_changes_what_it_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        folder, "run: {executor: {type: ray, max_workers: 3}, config: {a: 1}, retry: {max_retries: 1}, cache: true}\n"
    )
    monkeypatch.setenv("FPBUS_RUN__EXECUTOR", "threadpool")
    monkeypatch.setenv("FPBUS_RUN__CONFIG", '{"b": 2}')
    monkeypatch.setenv("FPBUS_RUN__CONFIG__C", "3")
    monkeypatch.setenv("FPBUS_RUN__RETRY__MAX_RETRIES", "7")
    monkeypatch.setenv("FPBUS_RUN__WITH_ADAPTER__TRACKER", "true")
    monkeypatch.setenv("FPBUS_RUN__CACHE__RECOMPUTE", '["raw"]')
    run = load_pipeline(folder, "orders").run
    assert run.executor == ExecutorConfig(type="threadpool", max_workers=3)
    assert run.config == {"a": 1, "b": 2, "c": 3}
    assert (run.max_retries, run.with_adapter) == (7, {"hamilton_tracker": True})
    assert run.cache == CacheConfig(recompute=["raw"])


def test_a_block_of_retries_lies_over_the_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "run: {max_retries: 1, retry_delay: 4}\n")
    monkeypatch.setenv("FPBUS_RUN__RETRY", '{"max_retries": 2}')
    run = load_pipeline(folder, "orders").run
    assert (run.max_retries, run.retry_delay) == (2, 4.0)


@pytest.mark.parametrize("text", ["null", '"quoted"', "12", "true", "{}", ""])
def test_where_text_is_wanted_a_variable_is_text(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("FPBUS_ADAPTER__HAMILTON_TRACKER__API_KEY", text)
    assert load_pipeline(folder, "orders").adapter.hamilton_tracker.api_key == text


def test_names_have_no_case_where_the_file_has_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "params: {Scale: 1, Model: {Depth: 1, seed: 2}}\n")
    monkeypatch.setenv("FPBUS_PARAMS__SCALE", "2.5")
    monkeypatch.setenv("FPBUS_PARAMS__MODEL__DEPTH", "9")
    monkeypatch.setenv("FPBUS_PARAMS__NEW", "007")
    params = load_pipeline(folder, "orders").params
    assert params == {"Scale": 2.5, "Model": {"Depth": 9, "seed": 2}, "new": "007"}


def test_what_is_for_schedules_makes_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "conf/pipelines/nightly.yml").write_text("schedule: {cron: '0 3 * * *'}\n")
    monkeypatch.setenv("FPBUS_SCHEDULE__ENABLED", "false")
    pipelines = load_pipelines(folder)
    assert pipelines["orders"].schedule is None
    assert pipelines["nightly"].schedule is not None
    assert not pipelines["nightly"].schedule.enabled


def test_one_underscore_is_no_overlay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPBUS_MQTT_URL", "mqtt://elsewhere")
    monkeypatch.setenv("FPBUS_HOOKS_DIR", "elsewhere")
    config = load_project(folder)
    assert (config.mqtt_url, config.hooks_dir) == (None, "hooks")


@pytest.mark.parametrize(
    ("variable", "value", "says", "hint"),
    [
        ("FPBUS_LIMITS__NESTNG", "1", "there is no key `limits.nestng`.", "Did you mean `limits.nesting`?"),
        ("FPBUS_SCHEDULE__TIMEZONE", "Nowhere", "`schedule.timezone` is 'Nowhere', which is no IANA", "Write one such"),
        ("FPBUS_RUN__WITH_ADAPTER__MLFOW", "true", "there is no adapter 'mlfow'.", "Did you mean 'mlflow'?"),
        ("FPBUS_JOB_QUEUE__BACKEND__PORT", "x", "`job_queue.backend.port` is 'x'; it must be a whole number", None),
        ("FPBUS_ADAPTER__CUSTOM__A__OPTIONS", "{}", "the key `adapter.custom.a.type` is missing.", "Add it: type: ..."),
        ("FPBUS_PARAMS__", "1", "names no key.", "Such as FPBUS_PARAMS__KEY."),
        ("FPBUS_RUN__RETRY__MAX_RETRYS", "1", "there is no key `run.max_retrys`.", "Did you mean `run.max_retries`?"),
    ],
)
def test_a_variable_that_does_not_fit_is_blamed(  # noqa: PLR0917 (a table)
    folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str, hint: str | None
) -> None:
    write(folder, "schedule: {cron: '0 3 * * *'}\n")
    monkeypatch.setenv(variable, value)
    (fault,) = find_faults(folder)
    assert str(fault).startswith(f"The environment variable {variable} ")
    assert says in fault.message
    assert (fault.hint or "").startswith(hint or "")
    assert fault.variable == variable
    with pytest.raises(ProjectError) as caught:
        load_all(folder)
    assert str(caught.value) == str(fault)


def test_a_variable_is_not_blamed_for_what_the_file_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "run:\n  with_adapter:\n    mlfow: true\n")
    monkeypatch.setenv("FPBUS_RUN__WITH_ADAPTER", '{"progressbr": true}')
    first, second = find_faults(folder)
    assert (Path(first.file).name, first.line, first.variable) == ("orders.yml", 3, None)
    assert (second.hint, second.variable) == ("Did you mean 'progressbar'?", "FPBUS_RUN__WITH_ADAPTER")


def test_a_secret_in_a_variable_is_not_shown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPBUS_JOB_QUEUE__BACKEND__PASSWORD__X", "s3cret")
    (fault,) = find_faults(folder)
    assert "s3cret" not in f"{fault} {fault.hint}"


# In the files.


def test_digits_stay_text_where_text_is_wanted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGITS", "123456")
    write(
        folder,
        "adapter:\n  hamilton_tracker:\n    api_key: ${DIGITS}\n    project_id: ${DIGITS}\n"
        "  opentelemetry:\n    headers:\n      id: ${DIGITS}\nparams:\n  free: ${DIGITS}\n",
    )
    config = load_pipeline(folder, "orders")
    assert (config.adapter.hamilton_tracker.api_key, config.adapter.hamilton_tracker.project_id) == ("123456", 123456)
    assert config.adapter.opentelemetry.headers == {"id": "123456"}
    assert config.params == {"free": 123456}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("007", "007"),
        ("0", 0),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("{a: 1}", "{a: 1}"),
        ("a: b", "a: b"),
    ],
)
def test_a_whole_value_is_read_as_a_scalar_and_never_more(
    folder: Path, monkeypatch: pytest.MonkeyPatch, value: str, found: object
) -> None:
    monkeypatch.setenv("VALUE", value)
    write(folder, "params:\n  a: ${VALUE}\n  b: '${VALUE}'\n")
    assert load_pipeline(folder, "orders").params == {"a": found, "b": value}


def test_a_variable_without_a_value_leaves_the_default(folder: Path) -> None:
    write(folder, "run:\n  max_retries: ${NOT_SET:-}\n  log_level: ${NOT_SET:-null}\n")
    run = load_pipeline(folder, "orders").run
    assert (run.max_retries, run.log_level) == (0, None)


def test_a_default_may_hold_variables_and_braces(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNER", "in")
    write(
        folder,
        "params:\n  a: ${NOT_SET:-${INNER}}\n  b: ${NOT_SET:-${NEITHER:-5}}\n  c: '${NOT_SET:-{\"x\": 1}}'\n"
        '  d: "daily_{timestamp:%Y}"\n  e: $${INNER}\n',
    )
    params = load_pipeline(folder, "orders").params
    assert params == {"a": "in", "b": 5, "c": '{"x": 1}', "d": "daily_{timestamp:%Y}", "e": "${INNER}"}


@pytest.mark.parametrize("text", ["${", "${A", "${1A}", "${A:=3}", "${A+x}", "${A B}", "${}"])
def test_what_only_begins_like_a_variable_is_a_fault(folder: Path, text: str) -> None:
    write(folder, f"params:\n  a: '{text}'\n")
    (fault,) = find_faults(folder)
    assert (fault.line, fault.key) == (2, "params.a")
    assert fault.message == "`params.a` holds a ${ that no variable follows."


def test_all_variables_that_are_missing_are_told_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY", "")
    write(folder, "run:\n  max_retries: ${NOT_SET}\n  timeout_s: ${EMPTY:?seconds}\n  final_vars: ['${ALSO_NOT}']\n")
    assert [(fault.line, fault.message) for fault in find_faults(folder)] == [
        (2, "`run.max_retries` needs the environment variable NOT_SET, which is not set."),
        (3, "`run.timeout_s` needs the environment variable EMPTY, which is empty: seconds."),
        (4, "`run.final_vars.0` needs the environment variable ALSO_NOT, which is not set."),
    ]


def test_variables_are_not_looked_for_in_comments_and_keys(folder: Path) -> None:
    write(folder, "params:  # ${NOT_SET}\n  a${NOT_SET}: 1\n")
    assert load_pipeline(folder, "orders").params == {"a${NOT_SET}": 1}
