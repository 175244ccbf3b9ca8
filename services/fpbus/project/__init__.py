"""A project's files: found, read, made. Its code is run elsewhere."""

from .files import ProjectError as ProjectError
from .files import UnknownPipelineError as UnknownPipelineError
from .files import find_project as find_project
from .files import load_pipeline as load_pipeline
from .files import load_pipelines as load_pipelines
from .files import load_project as load_project
from .files import names_stamp as names_stamp
from .files import pipeline_names as pipeline_names
from .files import stamp as stamp
from .template import make_project as make_project
