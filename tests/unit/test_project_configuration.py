"""Both files as they are read: layers, variables, the environment, and every fault with its place."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fpbus.project import ProjectError, find_faults, load_pipeline, load_pipelines, load_project
from fpbus.project.variables import fill_in
from fpbus.project.yaml_reader import Document, read_yaml
from fpbus.schemas import CacheConfig, CronFields, ExecutorConfig


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conf/pipelines").mkdir(parents=True)
    (tmp_path / "conf/project.yml").write_text("name: shop\n")
    return tmp_path


def write(folder: Path, pipeline: str = "", project: str = "name: shop\n") -> Path:
    (folder / "conf/project.yml").write_text(project)
    (folder / "conf/pipelines/orders.yml").write_text(pipeline)
    return folder


def first_fault(folder: Path) -> tuple[str, str | None]:
    with pytest.raises(ProjectError) as caught:
        load_pipelines(folder)
    return str(caught.value).replace(str(folder) + "/", ""), caught.value.hint


# Layers.


def test_call_sections_of_the_project_lie_below_the_pipelines(folder: Path) -> None:
    write(
        folder,
        "run: {executor: threadpool, config: {b: 2}, with_adapter: {mlflow: false}}\nadapter: {mlflow: {run_name: x}}\n"
        "hooks: [{type: after_run, function: hooks.a.two}]\n",
        "name: shop\nrun: {max_retries: 3, executor: {max_workers: 2}, config: {a: 1, b: 1},"
        " with_adapter: {hamilton_tracker: true, mlflow: true}}\nadapter: {mlflow: {tracking_uri: http://x}}\n"
        "hooks: [{type: before_run, function: hooks.a.one}]\n",
    )
    config = load_pipeline(folder, "orders")
    assert config.run.max_retries == 3
    assert config.run.executor == ExecutorConfig(type="threadpool", max_workers=2)
    assert config.run.config == {"a": 1, "b": 2}
    assert config.run.with_adapter == {"hamilton_tracker": True, "mlflow": False}
    assert (config.adapter.mlflow.tracking_uri, config.adapter.mlflow.run_name) == ("http://x", "x")
    assert [hook.function for hook in config.hooks] == ["hooks.a.one", "hooks.a.two"]


def test_zero_false_and_empty_win_over_the_project(folder: Path) -> None:
    write(
        folder,
        "run: {max_retries: 0, cache: false, final_vars: []}\n",
        "name: shop\nrun: {max_retries: 3, cache: {recompute: [a]}, final_vars: [b]}\n",
    )
    run = load_pipeline(folder, "orders").run
    assert (run.max_retries, run.cache, run.final_vars) == (0, False, [])


def test_keys_without_a_value_mean_the_default_and_null_is_a_value_of_the_users(folder: Path) -> None:
    write(folder, "run:\n  inputs:\n  max_retries:\n  config: {mode: null}\nparams: {nothing: ~}\nschedule:\n")
    config = load_pipeline(folder, "orders")
    assert (config.run.inputs, config.run.max_retries, config.run.config) == ({}, 0, {"mode": None})
    assert (config.params, config.schedule) == ({"nothing": None}, None)


def test_flowerpowers_other_names_are_read(folder: Path) -> None:
    write(
        folder,
        "run:\n  executor: ray\n  with_adapter: {tracker: true}\n"
        "  retry: {max_retries: 2, retry_delay: 1.5, jitter_factor: 0.5, retry_exceptions: [ValueError]}\n",
        "name: shop\njob_queue: {type: rq, redis_host: cache, redis_port: 6380}\n",
    )
    run = load_pipeline(folder, "orders").run
    assert (run.executor.type, run.with_adapter) == ("ray", {"hamilton_tracker": True})
    assert (run.max_retries, run.retry_delay, run.jitter_factor, run.retry_exceptions) == (2, 1.5, 0.5, ["ValueError"])
    assert load_project(folder).job_queue.redis_url == "redis://cache:6380/0"


def test_the_redis_url_is_put_together_from_its_parts(folder: Path) -> None:
    write(
        folder,
        project="name: shop\njob_queue:\n  backend: {host: r, port: 1, database: 2,"
        " username: u, password: 'p@/', ssl: true}\n",
    )
    url = load_project(folder).job_queue.redis_url
    assert url == "rediss://u:p%40%2F@r:1/2?ssl_cert_reqs=required"


# YAML as 1.2 means it.


def test_what_yaml_1_1_misreads_is_text(folder: Path) -> None:
    write(folder, "params: {a: on, b: 22:22, c: 2024-01-15, d: 1_000, e: no, f: 1e3, g: 0o17, h: .5, i: -3, j: '12'}\n")
    assert load_pipeline(folder, "orders").params == {
        "a": "on",
        "b": "22:22",
        "c": "2024-01-15",
        "d": "1_000",
        "e": "no",
        "f": 1000.0,
        "g": 15,
        "h": 0.5,
        "i": -3,
        "j": "12",
    }


def test_anchors_and_merge_keys_work(folder: Path) -> None:
    write(folder, "params:\n  a: &a {x: 1, y: 2}\n  b: {<<: *a, y: 3}\n  c: *a\n")
    assert load_pipeline(folder, "orders").params == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 3},
        "c": {"x": 1, "y": 2},
    }


BOMB = "params:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"  a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("params:\n  a: 012\n", "orders.yml:2: 012 is one number to some programs"),
        (
            "run:\n  max_retries: 1\n  max_retries: 2\n",
            "orders.yml:3: the key 'max_retries' is there twice, also on line 2",
        ),
        ("params: {a: !!python/object/apply:os.system [ls]}\n", "orders.yml:1: the tag"),
        ("params: {a: !mine x}\n", "orders.yml:1: the tag"),
        (BOMB, "more than 100000 values"),
        ("params: " + "[" * 100 + "]" * 100 + "\n", "nested more than 64 deep"),
        ("params: &a {x: *a}\n", "nested more than 64 deep"),
        ("params: {a: [}\n", "orders.yml:1: this is no YAML"),
        ("params: {[1]: 2}\n", "orders.yml:1: a key must be text"),
        ("a\n---\nb\n", "orders.yml:2: this is no YAML"),
        ("- a\n", "`the file` is ['a']; it must be a mapping."),
        ("x" * (1024 * 1024 + 1), "is larger than"),
    ],
)
def test_what_is_no_yaml_or_too_much_of_it_is_refused(folder: Path, text: str, fault: str) -> None:
    write(folder, text)
    assert fault in first_fault(folder)[0]


def test_a_schedules_fields_are_read(folder: Path) -> None:
    write(folder, 'schedule:\n  cron: {minute: "0", hour: 3, day_of_week: "mon-fri"}\n')
    schedule = load_pipeline(folder, "orders").schedule
    assert schedule is not None
    assert schedule.cron == CronFields(minute="0", hour=3, day_of_week="mon-fri")


# Variables.


def test_variables_are_filled_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "6380")
    monkeypatch.setenv("EMPTY", "")
    write(
        folder,
        "params:\n  number: ${PORT}\n  text: '${PORT}'\n  inside: redis://h:${PORT}/0\n  default: ${NOT_SET:-5}\n"
        "  empty: ${EMPTY-x}x\n  colon: ${EMPTY:-x}\n  dollar: $$5 and $HOME\n  many: '${PORT}${PORT}'\n",
    )
    assert load_pipeline(folder, "orders").params == {
        "number": 6380,
        "text": "6380",
        "inside": "redis://h:6380/0",
        "default": 5,
        "empty": "x",
        "colon": "x",
        "dollar": "$5 and $HOME",
        "many": "63806380",
    }


@pytest.mark.parametrize(
    ("text", "says"), [("${NOT_SET}", "NOT_SET, which is not set."), ("${NOT_SET:?ask Ann}", "is not set: ask Ann.")]
)
def test_a_variable_that_is_not_set_is_named_with_its_place(folder: Path, text: str, says: str) -> None:
    write(folder, f"run:\n  inputs:\n    token: {text}\n")
    fault, hint = first_fault(folder)
    assert fault.startswith("conf/pipelines/orders.yml:3: `run.inputs.token` needs the environment variable NOT_SET")
    assert says in fault
    assert hint == "Set it, or give a default: ${NOT_SET:-...}"


@given(st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"])))
def test_a_variable_never_becomes_structure(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOSTILE", text)
        document = Document(Path("x.yml"), {"a": "${HOSTILE}", "b": "x ${HOSTILE}"}, {}, {("a",)})
        filled, missing = fill_in(document)
    assert missing == []
    assert list(filled) == ["a", "b"]
    assert not isinstance(filled["a"], dict | list)
    assert filled["b"] == f"x {text}"


# The environment over the files.


def test_the_environment_lies_over_both_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPBUS_RUN__MAX_RETRIES", "2")
    monkeypatch.setenv("FPBUS_RUN__EXECUTOR__TYPE", "threadpool")
    monkeypatch.setenv("FPBUS_RUN__CACHE", '{"recompute": ["a"]}')
    monkeypatch.setenv("FPBUS_PARAMS__CODE", "007")
    monkeypatch.setenv("FPBUS_ADAPTER__MLFLOW__EXPERIMENT_NAME", "42")
    monkeypatch.setenv("FPBUS_JOB_QUEUE__NUM_WORKERS", "4")
    write(folder, "run: {max_retries: 1, executor: {max_workers: 3}}\n")
    config = load_pipeline(folder, "orders")
    assert (config.run.max_retries, config.run.executor.type, config.run.executor.max_workers) == (2, "threadpool", 3)
    assert config.run.cache == CacheConfig(recompute=["a"])
    assert config.adapter.mlflow.experiment_name == "42"
    assert config.params == {"code": "007"}
    assert load_project(folder).job_queue.num_workers == 4


@pytest.mark.parametrize(
    ("variable", "value", "says", "hint"),
    [
        ("FPBUS_RUN__MAX_RETRYS", "1", "there is no key `run.max_retrys`", "Did you mean `run.max_retries`?"),
        ("FPBUS_RUN__MAX_RETRIES", "many", "`run.max_retries` is 'many'; it must be a whole number", None),
        ("FPBUS_RUNS__MAX_RETRIES", "1", "names no section", "Did you mean 'run'?"),
    ],
)
def test_a_variable_that_does_not_fit_is_named(  # noqa: PLR0917 (a table)
    folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str, hint: str | None
) -> None:
    monkeypatch.setenv(variable, value)
    write(folder)
    sentence, given_hint = first_fault(folder)
    assert sentence.startswith(f"The environment variable {variable} ")
    assert says in sentence
    assert given_hint == hint


# Faults.


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        (
            "run:\n  max_retrys: 1\n",
            "orders.yml:2: there is no key `run.max_retrys`.",
            "Did you mean `run.max_retries`?",
        ),
        (
            "max_retries: 1\n",
            "orders.yml:1: there is no key `max_retries`.",
            "It belongs under `run:` or under `schedule:`.",
        ),
        (
            "run:\n\n  max_retries: -1\n",
            "orders.yml:3: `run.max_retries` is -1; it must be a whole number of at least 0.",
            None,
        ),
        ("run:\n  max_retries: two\n", "`run.max_retries` is 'two'; it must be a whole number of at least 0.", None),
        ("run:\n  jitter_factor: 2\n", "`run.jitter_factor` is 2; it must be a number from 0 to 1.", None),
        (
            "run:\n  executor:\n    type: thredpool\n",
            "orders.yml:3: `run.executor.type` is 'thredpool'; it must be one of local",
            None,
        ),
        ("run:\n  executor: thredpool\n", "orders.yml:2: `run.executor.type`", None),
        ("run:\n  final_vars: fahrenheit\n", "`run.final_vars` is 'fahrenheit'; it must be a list.", None),
        ("run:\n  final_vars: [1]\n", "`run.final_vars.0` is 1; it must be text.", 'Put it in quotes: "1"'),
        ("run:\n  log_level: LOUD\n", "it must be one of DEBUG, INFO", None),
        ("run:\n  async_driver: on\n", "`run.async_driver` is 'on'; it must be true or false.", "Write true or false"),
        ("run: [a]\n", "`run` is ['a']; it must be a mapping.", None),
        (
            "run:\n  with_adapter: {mlfow: true}\n",
            "orders.yml:2: there is no adapter 'mlfow'.",
            "Did you mean 'mlflow'?",
        ),
        ("schedule: {cron: x, timezone: Europe/Berln}\n", "`schedule.timezone` is 'Europe/Berln'", "Write one such as"),
        ("adapter: {hamilton_tracker: {api_key: [s3cret]}}\n", "`adapter.hamilton_tracker.api_key` is ***;", None),
        ("allow_overrides: [confg]\n", "it must be one of config, cache", "Did you mean 'config'?"),
        ("inputs: {}\n", "there is no key `inputs`.", "It belongs under `run:`"),
        ("job_queue: {}\n", "there is no key `job_queue`.", "It belongs in conf/project.yml."),
        (
            "schedule: {interval: {hour: 1}}\n",
            "no key `schedule.interval.hour`.",
            "Did you mean `schedule.interval.hours`?",
        ),
        ("hooks: {type: before_run, function: a.b}\n", "`hooks` is {'type': 'before_run'", None),
        (
            "hooks:\n- type: before_run\n  funktion: a.b\n  function: a.b\n",
            "orders.yml:3: there is no key `hooks.0.funktion`.",
            "Did you mean `hooks.0.function`?",
        ),
        (
            "hooks: [{type: before_runn, function: a.b}]\n",
            "it must be one of before_run,",
            "Did you mean 'before_run'?",
        ),
        ("adapter: {custom: {audit: {}}}\n", "the key `adapter.custom.audit.type` is missing.", "Add it: type: ..."),
        (
            "run:\n  with_adapter:\n    mlflow: 5\n",
            "orders.yml:3: `run.with_adapter.mlflow` is 5; it must be true",
            None,
        ),
        ("run: {cache: yes}\n", "it must be true, false or a mapping.", "Write true or false"),
        ("run: {log_level: debug}\n", "`run.log_level` is 'debug'", "Did you mean 'DEBUG'?"),
        ("run: {timeout_s: '10'}\n", "it must be a number above 0", "Write it without quotes: 10"),
        ("run: {final_vars: total}\n", "it must be a list.", "Write it as a list: [total]"),
        ("run:\n  retry:\n    max_retrys: 1\n", "orders.yml:3: there is no key `run.max_retrys`.", "Did you mean"),
        ("run: {retry: 5}\n", "`run.retry` is 5; it must be a mapping.", "there is `run.max_retries`."),
        (
            "run:\n  max_retries: 1\n  retry:\n    max_retries: 3\n",
            "orders.yml:4: `run.max_retries` is there too",
            "Remove",
        ),
        ("run: {with_adapter: {tracker: true, hamilton_tracker: false}}\n", "are the same adapter", "Remove one."),
        ("run: {max_retries: 'redis://u:s3cret@h'}\n", "is 'redis://u:***@h';", None),
        ("adapter: {hamilton_tracker: {api_key: 123456}}\n", "api_key` is ***; it must be text.", "Put it in quotes."),
        (
            "triggers:\n- topic: a/{b}\n  reply_to: x/{c}\n",
            "orders.yml:3: `triggers.0.reply_to` cannot be used: reply_to has {c}, and the topic has no",
            None,
        ),
        (
            "triggers:\n- topic: a\n- when: 1 +\n  topic: b\n",
            "orders.yml:3: `triggers.1.when` cannot be used: when cannot be read: invalid syntax.",
            None,
        ),
        ("triggers:\n- topic: a\n- topic: a/#/b\n", "orders.yml:3: `triggers.1` cannot be used: 'a/#/b' has a #", None),
        (
            "triggers:\n- topic: a\n  window:\n    kind: debounce\n    quiet: 1\n    quiet_s: 1\n",
            "orders.yml:5: there is no key `triggers.0.window.quiet`.",
            "Did you mean `triggers.0.window.quiet_s`?",
        ),
        (
            "triggers:\n- topic: a\n  window:\n    kind: debonce\n",
            "orders.yml:4: `triggers.0.window.kind` is 'debonce'; it must be one of batch, debounce, throttle, latest.",
            "Did you mean 'debounce'?",
        ),
        (
            "triggers:\n- topic: a\n  window: {size: 3}\n",
            "orders.yml:3: the key `triggers.0.window.kind` is missing; it is one of batch,",
            "Add it: kind: ...",
        ),
        (
            "triggers:\n- topic: a\n  window: {kind: batch, max_wait_s: 1, as_input: x}\n",
            "there is no key `triggers.0.window.as_input`.",
            "There are: max_wait_s, size, as.",
        ),
        (
            "limits:\n  max_running: 1\n  rate: 0/s\n",
            "orders.yml:3: `limits.rate` cannot be used: a rate must be",
            None,
        ),
    ],
)
def test_a_fault_names_file_line_key_and_what_to_do(folder: Path, text: str, says: str, hint: str | None) -> None:
    write(folder, text)
    fault, given_hint = first_fault(folder)
    assert says in fault
    assert (hint or "") in (given_hint or "")
    assert "s3cret" not in f"{fault} {given_hint}"
    assert "123456" not in f"{fault} {given_hint}"


def test_all_faults_of_all_files_are_found_at_once(folder: Path) -> None:
    write(folder, "run:\n  max_retries: -1\n  inputz: {}\nschedul: {}\n", "nam: shop\ntimezone: Nowhere\n")
    (folder / "conf/pipelines/broken.yml").write_text("a: [\n")
    found = [(Path(fault.file).name, fault.line, fault.key) for fault in find_faults(folder)]
    assert found == [
        ("project.yml", None, ""),
        ("project.yml", 1, "nam"),
        ("project.yml", 2, "timezone"),
        ("broken.yml", 2, ""),
        ("orders.yml", 2, "run.max_retries"),
        ("orders.yml", 3, "run.inputz"),
        ("orders.yml", 4, "schedul"),
    ]


def test_several_values_that_a_trigger_refuses_are_told_each_on_its_line(folder: Path) -> None:
    write(folder, "triggers:\n- topic: a/{b}\n  when: 1 +\n  qos: 0\n  reply_to: x/{c}\n- {topic: a, key: nowhere}\n")
    assert [(fault.line, fault.key) for fault in find_faults(folder)] == [
        (3, "triggers.0.when"),
        (5, "triggers.0.reply_to"),
        (6, "triggers.1.key"),
    ]


def test_a_projects_fault_is_told_where_it_stands_and_with_all_others(folder: Path) -> None:
    write(
        folder,
        "run:\n  max_retries: x\n  with_adapter:\n    mlfow: true\n",
        "name: shop\nrun:\n  with_adapter:\n    trackr: true\njob_queue:\n  profiles:\n    gpu:\n      redis_port: 0\n",
    )
    found = [(Path(fault.file).name, fault.line, fault.key) for fault in find_faults(folder)]
    assert found == [
        ("project.yml", 8, "job_queue.profiles.gpu.redis_port"),
        ("orders.yml", 2, "run.max_retries"),
        ("orders.yml", 4, "run.with_adapter.mlfow"),
    ]
    write(folder, "", "name: shop\nrun:\n  with_adapter:\n    trackr: true\nschedule: {}\n")
    assert [fault.hint for fault in find_faults(folder)] == ["It belongs in conf/pipelines/<name>.yml."]
    write(folder, "", "name: shop\nrun:\n  with_adapter:\n    trackr: true\n")
    assert first_fault(folder)[0] == "conf/project.yml:4: there is no adapter 'trackr'."


def test_a_name_that_no_pipeline_can_have_is_a_fault(folder: Path) -> None:
    (folder / "conf/pipelines/-x.yml").touch()
    (fault,) = find_faults(folder)
    assert "'-x' cannot name a pipeline" in fault.message


def test_an_adapter_of_the_projects_own_is_known_by_its_name(folder: Path) -> None:
    project = "name: shop\nadapter: {custom: {audit: {type: hooks.audit.Audit}}}\n"
    write(folder, "run: {with_adapter: {audit: true, hooks.other.Adapter: true}}\n", project)
    assert load_pipeline(folder, "orders").run.with_adapter == {"audit": True, "hooks.other.Adapter": True}


def test_many_pipelines_load_from_one_reading_of_the_project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        (folder / f"conf/pipelines/p{number}.yml").write_text("run: {max_retries: 1}\n")
    read: list[Path] = []

    def read_and_note(path: Path) -> Document:
        read.append(path)
        return read_yaml(path)

    monkeypatch.setattr("fpbus.project.configuration.read_yaml", read_and_note)
    assert len(load_pipelines(folder)) == 20
    assert len(read) == 21
