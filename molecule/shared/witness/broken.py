"""The witness with a mistake that a user may make: a variable that it needs is not set."""

import os

from witness import app

TOKEN = os.environ["WITNESS_TOKEN"]

__all__ = ["app"]
