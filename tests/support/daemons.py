"""What tests run in a daemon process. A child process finds it here, and not in a file of tests."""

from typing import Any

from fpbus.pipelines import Project


def run_plain(folder: str, executor: dict[str, Any], answer: Any) -> None:
    """Run the pipeline `plain`, and put its outputs on the queue `answer`."""
    project = Project.load(folder)
    answer.put(project.run("plain", {"number": 1}, ["total"], executor=executor))
    project.graph("plain").close()
