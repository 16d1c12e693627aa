"""The README says what is true."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_its_table_of_options_is_the_one_that_apps_are_checked_with() -> None:
    script = "from options import *; sys.exit(written(README.read_text()) != table())"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT / "tests/docs", check=False)
    assert done.returncode == 0, "README.md: run `python tests/docs/options.py`"
