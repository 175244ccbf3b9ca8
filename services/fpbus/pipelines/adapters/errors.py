"""What is wrong with the adapters that a run asks for."""

from fpbus.pipelines.modules import PipelineNotLoadableError


class AdapterError(PipelineNotLoadableError):
    """An adapter that does not exist, is none, or cannot do what the run needs of it."""
