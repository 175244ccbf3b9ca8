"""Where a project's hooks lie."""

import keyword
import sys
from pathlib import Path

from .errors import ProjectError


def hooks_folder(folder: Path, hooks_dir: str) -> Path:
    """Return the folder of a project's hooks; raise `ProjectError` where `hooks_dir` cannot be one."""
    parts = Path(hooks_dir).parts
    if not parts or not all(is_module_name(part) for part in parts):
        raise ProjectError(
            f"conf/project.yml: `hooks_dir` is {hooks_dir!r}; it must be a folder of the project with a Python name.",
            "Its default is 'hooks'.",
        )
    if parts[0] in sys.stdlib_module_names or parts[0] == "fpbus":
        raise ProjectError(
            f"conf/project.yml: `hooks_dir` is {hooks_dir!r}; Python knows another package of that name.",
            "Its default is 'hooks'.",
        )
    return folder / hooks_dir


def is_module_name(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)
