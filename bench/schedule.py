"""What happens to the app while traffic runs: data, and how the copy of the sample app is changed for it."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

CLONE = Path(__file__).parent.parent
SAMPLE_APP = CLONE / "sample_app"


class Does(StrEnum):
    """What an event does."""

    DEPLOY = "deploy"  # a change of the code, which goes live
    FAIL = "failed deploy"  # a change that must not go live
    WARM = "warm rollback"  # to the release before, whose instance still runs
    COLD = "cold rollback"  # to a release whose instance has retired
    KILL = "kill -9"  # the app's server; no release changes
    RELOAD = "reload NGINX"  # as a switch by reload would do; no release changes


ROLLBACKS = {Does.WARM, Does.COLD}


@dataclass(frozen=True)
class Event:
    """One event, and how long the host is left alone after it."""

    does: Does
    breaks: str = ""  # for a failed deploy: a key of BREAKAGES
    after: float = 20

    @property
    def name(self) -> str:
        """What tables and plots call it."""
        return f"{self.does}: {self.breaks}" if self.breaks else str(self.does)


def _append(name: str, text: str) -> Callable[[Path], None]:
    def change(app: Path) -> None:
        path = app / name
        path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")

    return change


def _replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(app: Path) -> None:
        path = app / name
        text, count = re.subn(old, new, path.read_text(encoding="utf-8"), count=1)
        if not count:
            raise ValueError(f"sample_app/{name} has no {old!r}: adapt bench/schedule.py")
        path.write_text(text, encoding="utf-8")

    return change


def _failing_migration(app: Path) -> None:
    (app / "notes/migrations/versions/rev_9999_fails.py").write_text(
        '''"""Fails."""

revision: str = "9999"
down_revision: str | None = "0001"


def upgrade() -> None:
    """Fail."""
    raise RuntimeError("this migration fails on purpose")
''',
        encoding="utf-8",
    )


BREAKAGES: dict[str, Callable[[Path], None]] = {
    "import error": _append("notes/main.py", "\nimport notes.not_there\n"),
    "lifespan exception": _replace(
        "notes/main.py", r"( +)try:\n +yield", r'\1raise RuntimeError("this lifespan fails on purpose")\n\g<0>'
    ),
    "health answers 500": _replace(
        "notes/routes/health.py",
        r"( +)try:\n +async with asyncio.timeout",
        r'\1raise RuntimeError("not healthy on purpose")\n\g<0>',
    ),
    "migration fails": _failing_migration,
    "dependency not there": _replace("requirements.txt", r"(?m)^idna==\S+", "idna==999.0"),
}


def write_app(folder: Path, marker: str, breaks: str = "") -> None:
    """Write the sample app with a marker in its code, and broken if asked to."""
    if folder.exists():
        shutil.rmtree(folder)
    ignored = shutil.ignore_patterns("__pycache__", ".*", "*.db", "tests", "*.egg-info")
    shutil.copytree(SAMPLE_APP, folder, ignore=ignored)
    route = f'\n\n@router.get("/marker")\nasync def marker() -> dict[str, str]:\n    return {{"marker": "{marker}"}}\n'
    _append("notes/routes/health.py", route)(folder)
    if breaks:
        BREAKAGES[breaks](folder)


def deploy(after: float = 20) -> Event:
    """Return a deploy; with little time after it, a rollback that follows is warm."""
    return Event(Does.DEPLOY, after=after)


def fail(breaks: str, after: float = 15) -> Event:
    """Return a deploy that fails."""
    return Event(Does.FAIL, breaks, after)


WARM, COLD = Event(Does.WARM), Event(Does.COLD)

SCHEDULES: dict[str, list[Event]] = {
    "full": [
        deploy(),
        fail("import error"),
        deploy(after=1),
        WARM,
        fail("lifespan exception"),
        COLD,
        deploy(),
        fail("health answers 500"),
        deploy(after=1),
        WARM,
        COLD,
        fail("migration fails"),
        deploy(),
        deploy(after=1),
        WARM,
        fail("dependency not there"),
        COLD,
    ],
    "quick": [deploy(after=10), fail("import error", after=5), deploy(after=1), Event(Does.WARM, after=10)],
    # Not what the collection does: that a loss is seen, and how much of one.
    "break": [Event(Does.KILL), Event(Does.RELOAD)],
}


def schedule(name: str) -> list[Event]:
    """Return the events of a schedule; without a playbook for them there are no rollbacks."""
    rollbacks = (CLONE / "playbooks/rollback.yml").exists()
    return [event for event in SCHEDULES[name] if rollbacks or event.does not in ROLLBACKS]
