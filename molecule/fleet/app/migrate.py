"""Count the migrations where they are not forgotten, or fail."""

import os
import sys
from pathlib import Path

with Path(os.environ["PADDOCK_SHARED"], "migrations").open("a", encoding="utf-8") as log:
    log.write(os.environ["PADDOCK_RELEASE"] + "\n")
sys.exit(int("MIGRATION_FAILS" in os.environ))
