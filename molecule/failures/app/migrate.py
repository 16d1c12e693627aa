"""Migrate nothing, or fail."""

import os

if os.environ.get("FAULT") == "migration":
    raise SystemExit("revision 0007: unable to open database file")
