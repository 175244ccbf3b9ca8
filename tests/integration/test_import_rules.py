"""Who may import whom is part of the design; import-linter reads the rules from pyproject.toml."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"


def test_imports_keep_to_the_rules() -> None:
    # A process of its own: import-linter configures logging, and would silence ours for the tests that follow.
    linted = subprocess.run([sys.executable, "-c", LINT], cwd=ROOT, capture_output=True, text=True, check=False)

    assert linted.returncode == 0, linted.stdout
    assert "0 broken" in linted.stdout


def test_no_portion_of_the_namespace_package_has_an_init_file() -> None:
    portions = [ROOT / folder / "fpbus" for folder in ("bus", "schemas", "services")]

    assert all(portion.is_dir() for portion in portions)
    assert not [portion for portion in portions if (portion / "__init__.py").exists()]
