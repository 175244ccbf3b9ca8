"""What each service can be asked, on `fpbus/call/{service}/{verb}`, and the arguments of it."""

from collections.abc import Mapping
from typing import Any, Final

from .calls import Cancel, ListRuns, NoArguments, SetWorkers, ShowRun, Stats, Submit
from .codes import Role
from .job_calls import ChooseJobs, ListJobs, NamePipeline, RetryJob, ShowJob
from .replays import ListOriginals, Replay
from .schedule_calls import ChooseSchedules, Explain, ListSchedules, PutSchedule, ScheduleAll

VERBS: Final[Mapping[Role, Mapping[str, type[Any]]]] = {
    Role.DISPATCHER: {
        "cancel": ChooseJobs,
        "delete": ChooseJobs,
        "list_jobs": ListJobs,
        "list_triggers": NoArguments,
        "pause_pipeline": NamePipeline,
        "queues": NoArguments,
        "replay": Replay,
        "resume_pipeline": NamePipeline,
        "retry": RetryJob,
        "show_job": ShowJob,
        "submit": Submit,
    },
    Role.RECORDER: {"list_originals": ListOriginals, "list_runs": ListRuns, "show_run": ShowRun, "stats": Stats},
    Role.RUNNER: {"cancel": Cancel, "list_workers": NoArguments, "set_workers": SetWorkers},
    Role.SCHEDULER: {
        "explain": Explain,
        "list": ListSchedules,
        "pause": ChooseSchedules,
        "put_schedule": PutSchedule,
        "remove": ChooseSchedules,
        "resume": ChooseSchedules,
        "schedule_all": ScheduleAll,
    },
}
