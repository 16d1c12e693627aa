"""`make release-check` passes what agrees, and says of everything that does not what is to be mended."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
VERSION = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"]
NEXT = "99.0.0"

pytestmark = pytest.mark.slow
Change = Callable[[Path], None]


def git(clone: Path, *arguments: str) -> str:
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.com"]
    command = ["git", *who, *arguments]
    return subprocess.run(command, cwd=clone, check=True, capture_output=True, text=True).stdout


def commit(clone: Path) -> None:
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message", "A change")


def check(clone: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["tests/release-check"], cwd=clone, check=False, capture_output=True, text=True)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a repository of what this clone has now, on its first commit, and without a tag."""
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")
    for name in listed.rstrip("\0").split("\0"):
        if (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name, follow_symlinks=False)
    # One that holds the tools is made for all.
    subprocess.run([ROOT / "tests/venv", ".cache/docs", ".config/requirements/docs.txt"], cwd=ROOT, check=True)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/docs").symlink_to(ROOT / ".cache/docs")
    # What has gathered since the last version belongs to none.
    for fragment in (tmp_path / "changelogs/fragments").glob("*.y*ml"):
        fragment.unlink()
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    return tmp_path


def append(name: str, text: str) -> Change:
    def change(clone: Path) -> None:
        path = clone / name
        path.parent.mkdir(exist_ok=True)
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(before + text, encoding="utf-8")

    return change


def version(clone: Path) -> None:
    path = clone / "galaxy.yml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(f"\nversion: {VERSION}\n", f"\nversion: {NEXT}\n"), encoding="utf-8")


def no_date(clone: Path) -> None:
    path = clone / "changelogs/changelog.yaml"
    changes = yaml.safe_load(path.read_text(encoding="utf-8"))
    del changes["releases"][VERSION]["release_date"]
    path.write_text(yaml.safe_dump(changes), encoding="utf-8")


def test_what_agrees_passes(clone: Path) -> None:
    git(clone, "tag", f"v{VERSION}")
    done = check(clone)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"v{VERSION} of 2" in done.stdout
    assert git(clone, "status", "--porcelain") == ""


ONE_MORE = append("changelogs/fragments/x.yml", "---\nbugfixes: [Something.]\n")


@pytest.mark.parametrize(
    ("committed", "tag", "since", "said"),
    [
        pytest.param(None, None, None, [f"galaxy.yml says {VERSION}, but HEAD has no tag"], id="no tag"),
        pytest.param(None, NEXT, None, [f"galaxy.yml says {VERSION}, but HEAD has v{NEXT}"], id="another tag"),
        pytest.param(
            version,
            VERSION,
            None,
            [f"galaxy.yml says {NEXT}, but HEAD has v{VERSION}", f"has no {NEXT} with a date"],
            id="another version",
        ),
        pytest.param(no_date, VERSION, None, [f"has no {VERSION} with a date"], id="an entry without a date"),
        pytest.param(
            ONE_MORE, VERSION, None, ["no version's changelog yet: changelogs/fragments/x.yml"], id="a fragment"
        ),
        pytest.param(
            append("CHANGELOG.md", "More.\n"), VERSION, None, ["make changelog", "< More."], id="edited by hand"
        ),
        pytest.param(None, VERSION, append("README.md", "More.\n"), [" M README.md", "HEAD: README.md"], id="dirty"),
        pytest.param(None, VERSION, append("docs/x.db", "Data"), ["so in HEAD: docs/x.db"], id="an ignored file"),
    ],
)
def test_what_does_not_agree_is_told(
    clone: Path, committed: Change | None, tag: str | None, since: Change | None, said: list[str]
) -> None:
    if committed:
        committed(clone)
        commit(clone)
    if tag:
        git(clone, "tag", f"v{tag}")
    if since:
        since(clone)
    done = check(clone)
    assert done.returncode == 1
    assert done.stdout == ""
    for text in said:
        assert text in done.stderr
