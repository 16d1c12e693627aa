# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of packing sources: directories and git repositories as they really are."""

from __future__ import annotations

import os
import shutil
import tarfile
import threading
import typing as t
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.paddock.fastapi.plugins.plugin_utils import _source
from ansible_collections.paddock.fastapi.plugins.plugin_utils._source import Packed, SourceError, classify, pack
from ansible_collections.paddock.fastapi.tests.unit.helpers import repository, run_git, write_files

APP = {"shop/__init__.py": "", "shop/main.py": "app = None\n", "requirements.txt": "fastapi==0.120.0\n"}
PYPROJECT = '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\n'


class Packer:
    """Packs, with the folders that this takes."""

    def __init__(self, folder: Path) -> None:
        self.base = folder
        self.work = folder / ".work"
        self.cache = folder / ".cache"
        self.work.mkdir()

    def __call__(self, source: str | Path, **options: t.Any) -> Packed:
        settings = {"source": str(source), "module": "shop.main:app", "requirements": None, "app_dir": None, **options}
        return pack(settings, self.base, self.work, self.cache)

    def refused(self, source: str | Path, **options: t.Any) -> SourceError:
        with pytest.raises(SourceError) as caught:
            self(source, **options)
        return caught.value


@pytest.fixture
def packer(tmp_path: Path) -> Packer:
    return Packer(tmp_path)


def members(packed: Packed) -> dict[str, str]:
    """List what an archive holds, folders aside: contents, or the targets of links."""
    found = {}
    with tarfile.open(packed.archive) as archive:
        for member in archive.getmembers():
            if member.issym():
                found[member.name] = f"-> {member.linkname}"
            elif member.isfile():
                file = archive.extractfile(member)
                assert file
                found[member.name] = file.read().decode()
    return found


def names(packed: Packed) -> list[str]:
    return sorted(set(members(packed)) - set(APP))


# -- kinds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("app", "directory"),
        ("./app/", "directory"),
        ("app/../app", "directory"),
        ("shop-1.0-py3-none-any.whl", "file"),
        ("shop-1.0.tar.gz", "file"),
        ("shop-1.0.zip", "file"),
        ("https://git.example.com/shop.git@v1", "git"),
        ("https://git.example.com/shop@feature/new", "git"),
        ("https://me:secret@git.example.com/shop.git@v1", "git"),
        ("git+https://git.example.com/shop.git@v1#subdirectory=a/b", "git"),
        ("ssh://git@git.example.com/shop.git@v1", "git"),
        ("git@git.example.com:team/shop.git@v1", "git"),
        ("git+file:///srv/git/shop@main", "git"),
        ("shop==1.4.2", "requirement"),
        ("shop[extra]==1.4.2", "requirement"),
        ("shop === 1.4.2", "requirement"),
    ],
)
def test_kinds(tmp_path: Path, source: str, kind: str) -> None:
    (tmp_path / "app").mkdir()
    for name in ("shop-1.0-py3-none-any.whl", "shop-1.0.tar.gz", "shop-1.0.zip"):
        (tmp_path / name).touch()
    assert classify(source, tmp_path) == kind


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "app").mkdir()
    assert classify("~/app", Path("/nonexistent")) == "directory"


NO_REF = "names no ref; write GIT-URL@REF with a tag, branch or commit, such as …/shop.git@v1.4"
KINDS = (
    "is no known kind of source; write a directory, GIT-URL@REF, a wheel or sdist file, or a requirement such as "
    "shop==1.4.2"
)
PIN = "is not pinned; write the one version that is to run, such as shop==1.4.2"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("notes.txt", "{base}/notes.txt is a file, but neither a wheel (.whl) nor an sdist (.tar.gz, .zip)"),
        ("../nothing", "there is no {parent}/nothing; paths are relative to the inventory's folder"),
        ("./nothing", "there is no {base}/nothing; paths are relative to the inventory's folder"),
        ("nothing.whl", "there is no {base}/nothing.whl; paths are relative to the inventory's folder"),
        ("not a source", f"'not a source' {KINDS}"),
        ("https://git.example.com/shop.git", f"'https://git.example.com/shop.git' {NO_REF}"),
        ("https://git.example.com/shop.git@", f"'https://git.example.com/shop.git@' {NO_REF}"),
        ("https://me:secret@git.example.com/shop.git", f"'https://git.example.com/shop.git' {NO_REF}"),
        ("git@git.example.com:shop.git", f"'git@git.example.com:shop.git' {NO_REF}"),
        ("shop", f"'shop' {PIN}"),
        ("shop>=1", f"'shop>=1' {PIN}"),
        ("shop==1.*", f"'shop==1.*' {PIN}"),
        ("shop==1.0,!=2", f"'shop==1.0,!=2' {PIN}"),
    ],
)
def test_sources_that_are_none(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(SourceError) as caught:
        classify(source, tmp_path)
    assert str(caught.value) == message.format(base=tmp_path, parent=tmp_path.parent)
    assert caught.value.option == "source"


# -- directories ----------------------------------------------------------------------------------------------------

IGNORES = {
    ".gitignore": "*.log\n/data/\n",
    "a.log": "",
    "data/big": "",
    "sub/.gitignore": "!keep.log\nx\n",
    "sub/keep.log": "",
    "sub/x": "",
    "sub/y": "",
}
KEPT = [".gitignore", "sub/.gitignore", "sub/keep.log", "sub/y"]


def in_a_work_tree(folder: Path) -> Path:
    repository(folder, {**APP, **IGNORES})
    # Neither committed nor ignored.
    return write_files(folder, {"new.py": ""})


def in_a_subfolder_of_one(folder: Path) -> Path:
    repository(folder, {".gitignore": "*.log\n", "other/secret.txt": ""})
    return write_files(folder / "app", {**APP, **IGNORES, "new.py": ""})


def without_a_repository(folder: Path) -> Path:
    return write_files(folder, {**APP, **IGNORES, "new.py": ""})


@pytest.mark.parametrize("make", [in_a_work_tree, in_a_subfolder_of_one, without_a_repository])
def test_what_git_ignores_is_left_out(packer: Packer, make: Callable[[Path], Path]) -> None:
    packed = packer(make(packer.base / "app"))
    assert names(packed) == sorted([*KEPT, "new.py"])
    assert packed.kind == "directory"


def test_ignored_by_the_folder_above(packer: Packer) -> None:
    repository(packer.base / "all", {".gitignore": "*.env\n/app/private\n"})
    folder = write_files(packer.base / "all/app", {**APP, "prod.env": "", "private/key": "", "ok": ""})
    assert names(packer(folder)) == ["ok"]


def test_what_one_person_ignores_counts_not(packer: Packer, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(packer.base, {"mine": "*.py\n", "config": f"[core]\nexcludesFile = {packer.base}/mine\n"})
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(packer.base / "config"))
    folder = repository(packer.base / "app", {})
    assert set(members(packer(write_files(folder, APP)))) == set(APP)


def test_variables_of_a_git_hook_count_not(packer: Packer, monkeypatch: pytest.MonkeyPatch) -> None:
    other = repository(packer.base / "other", {"x": ""})
    folder = repository(packer.base / "app", APP)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    assert set(members(packer(folder))) == set(APP)


@pytest.fixture
def no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that takes git away."""
    empty = tmp_path / "empty"
    empty.mkdir()
    return lambda: monkeypatch.setenv("PATH", str(empty))


def test_without_git(packer: Packer, no_git: Callable[[], None]) -> None:
    folder = write_files(packer.base / "app", {**APP, "b": "", "shop/__pycache__/main.cpython-311.pyc": ""})
    (folder / "pipe").symlink_to("b")
    os.mkfifo(folder / "fifo")
    with_git = packer(folder)
    no_git()
    without = packer(folder)
    assert names(without) == ["b", "pipe"]
    assert without.fingerprint == with_git.fingerprint


def test_a_gitignore_without_git(packer: Packer, no_git: Callable[[], None]) -> None:
    folder = without_a_repository(packer.base / "app")
    no_git()
    expected = f"{folder} has a .gitignore, which only git can read; install git on the control node"
    assert str(packer.refused(folder)) == expected


def test_a_work_tree_without_git(packer: Packer, no_git: Callable[[], None]) -> None:
    repository(packer.base / "all", {".gitignore": "*.env\n"})
    folder = write_files(packer.base / "all/app", {**APP, "prod.env": "secret"})
    no_git()
    assert str(packer.refused(folder)) == (
        f"{folder} is in a git work tree, and only git can tell what it ignores; install git on the control node"
    )


def test_a_git_source_without_git(packer: Packer, no_git: Callable[[], None]) -> None:
    no_git()
    expected = "git is not installed on the control node; install it to deploy from git"
    assert str(packer.refused("https://git.example.com/shop.git@v1")) == expected


def test_junk_and_environments_are_left_out(packer: Packer) -> None:
    junk = {
        ".venv/bin/python": "",
        "env-of-mine/pyvenv.cfg": "",
        "env-of-mine/lib/x.py": "",
        "deep/er/pyvenv.cfg": "",
        "deep/er/x.py": "",
        "shop/__pycache__/main.cpython-311.pyc": "",
        "shop/old.pyc": "",
        ".mypy_cache/x": "",
        ".tox/x": "",
    }
    folder = write_files(packer.base / "app", {**APP, **junk, "deep/ok.py": "", ".env.example": ""})
    assert names(packer(folder)) == [".env.example", "deep/ok.py"]
    assert names(packer(repository(folder, {}))) == [".env.example", "deep/ok.py"]


def test_deleted_files_that_git_still_lists(packer: Packer) -> None:
    folder = repository(packer.base / "app", {**APP, "gone": "", "became": "", "other/gone": ""})
    (folder / "gone").unlink()
    shutil.rmtree(folder / "other")
    (folder / "became").unlink()
    write_files(folder, {"became/a/folder.txt": ""})
    assert names(packer(folder)) == ["became/a/folder.txt"]


def test_an_empty_folder_that_took_the_place_of_a_file(packer: Packer) -> None:
    folder = repository(packer.base / "app", {**APP, "sub": ""})
    (folder / "sub").unlink()
    (folder / "sub").mkdir()
    assert "is a submodule that is not there" in str(packer.refused(folder))


def with_submodule(base: Path) -> Path:
    repository(base / "lib", {".gitignore": "*.tmp\n", "lib.py": "x = 1\n"})
    folder = repository(base / "app", APP)
    run_git(folder, "submodule", "--quiet", "add", str(base / "lib"), "vendor/lib")
    run_git(folder, "commit", "--quiet", "--message", "Add it")
    return folder


def test_submodules_are_part_of_a_directory(packer: Packer) -> None:
    folder = with_submodule(packer.base)
    write_files(folder, {"vendor/lib/scratch.tmp": "", "vendor/lib/new.py": ""})
    assert names(packer(folder)) == [
        ".gitmodules",
        *(f"vendor/lib/{name}" for name in (".gitignore", "lib.py", "new.py")),
    ]


def test_a_submodule_that_is_not_there(packer: Packer) -> None:
    folder = with_submodule(packer.base)
    run_git(folder, "submodule", "--quiet", "deinit", "--force", "vendor/lib")
    expected = f"{folder}/vendor/lib is a submodule that is not there; run 'git submodule update --init'"
    assert str(packer.refused(folder)) == expected


def test_a_repository_inside_is_packed(packer: Packer) -> None:
    folder = repository(packer.base / "app", APP)
    repository(folder / "inner", {"a.py": ""})
    assert names(packer(folder)) == ["inner/a.py"]


@pytest.mark.parametrize("target", ["a", "./a", "sub/../a", "../app-gone/../app/a", "nowhere"])
def test_links_inside(packer: Packer, target: str) -> None:
    folder = write_files(packer.base / "app", {**APP, "a": "", "sub/b": ""})
    (folder / "link").symlink_to(target)
    if target.startswith(".."):
        assert "is a link that leads out" in str(packer.refused(folder))
    else:
        assert members(packer(folder))["link"] == f"-> {target.removeprefix('./')}"


def test_links_to_folders(packer: Packer) -> None:
    folder = write_files(packer.base / "app", {**APP, "sub/b": ""})
    (folder / "sub/up").symlink_to("..")
    (folder / "down").symlink_to("sub")
    assert names(packer(folder)) == ["down", "sub/b", "sub/up"]
    assert names(packer(repository(folder, {}))) == ["down", "sub/b", "sub/up"]


@pytest.mark.parametrize("target", ["/etc/passwd", "../other", "sub/../../other", ".."])
def test_links_that_lead_out(packer: Packer, target: str) -> None:
    folder = write_files(packer.base / "app", APP)
    (folder / "link").symlink_to(target)
    expected = f"{folder}/link is a link that leads out of the source; replace it by what it links to"
    assert str(packer.refused(folder)) == expected


@pytest.mark.parametrize("files", [{}, {".gitignore": "*\n", "a": ""}])
def test_no_files(packer: Packer, files: dict[str, str]) -> None:
    folder = packer.base / "app"
    folder.mkdir()
    expected = f"{folder} holds no files, or all of them are ignored by a .gitignore"
    assert str(packer.refused(write_files(folder, files))) == expected


def test_names_that_are_not_utf8(packer: Packer) -> None:
    for folder in (packer.base / "app", repository(packer.base / "repository", {})):
        write_files(folder, APP)
        Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9")).touch()
        assert names(packer(folder)) == ["caf\udce9"]


def test_archives_hold_folders_and_modes(packer: Packer) -> None:
    folder = write_files(packer.base / "app", {**APP, "bin/a/tool": ""})
    (folder / "bin/a/tool").chmod(0o700)
    (folder / "requirements.txt").chmod(0o666)
    with tarfile.open(packer(folder).archive) as archive:
        found = [(member.name, oct(member.mode), member.uid, member.mtime) for member in archive.getmembers()]
    assert found == [
        (name, mode, 0, 315532800)
        for name, mode in (
            ("bin", "0o755"),
            ("bin/a", "0o755"),
            ("bin/a/tool", "0o755"),
            ("requirements.txt", "0o644"),
            ("shop", "0o755"),
            ("shop/__init__.py", "0o644"),
            ("shop/main.py", "0o644"),
        )
    ]


# -- fingerprints ---------------------------------------------------------------------------------------------------


def test_a_copy_has_the_same_fingerprint(packer: Packer) -> None:
    folder = write_files(packer.base / "app", {**APP, "sub/a": "1", ".gitignore": "*.log\n"})
    (folder / "link").symlink_to("sub/a")
    (folder / "sub/a").chmod(0o755)
    first = packer(folder)
    content = Path(first.archive).read_bytes()
    copy = packer.base / "elsewhere/copy"
    shutil.copytree(folder, copy, symlinks=True)
    write_files(copy, {"b.log": "ignored"})
    for path in copy.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
        if os.geteuid() == 0:
            os.chown(path, 4321, 4321, follow_symlinks=False)
        if path.is_file() and not path.is_symlink():
            path.chmod(path.stat().st_mode & 0o700)
    repository(copy, {})
    second = packer(copy)
    assert second.fingerprint == first.fingerprint
    assert Path(second.archive).read_bytes() == content


def change_a_byte(folder: Path) -> None:
    (folder / "shop/main.py").write_text("app = nonE\n")


def change_a_name(folder: Path) -> None:
    (folder / "a").rename(folder / "b")


def make_executable(folder: Path) -> None:
    (folder / "a").chmod(0o755)


def add_an_empty_file(folder: Path) -> None:
    (folder / "c").touch()


def change_a_link(folder: Path) -> None:
    (folder / "link").unlink()
    (folder / "link").symlink_to("shop")


def replace_a_link_by_a_file(folder: Path) -> None:
    (folder / "link").unlink()
    (folder / "link").write_text("a")


@pytest.mark.parametrize(
    "change",
    [change_a_byte, change_a_name, make_executable, add_an_empty_file, change_a_link, replace_a_link_by_a_file],
)
def test_every_change_changes_the_fingerprint(packer: Packer, change: Callable[[Path], None]) -> None:
    folder = write_files(packer.base / "app", {**APP, "a": ""})
    (folder / "link").symlink_to("a")
    before = packer(folder).fingerprint
    change(folder)
    assert packer(folder).fingerprint != before


# -- git ------------------------------------------------------------------------------------------------------------


def upstream(base: Path) -> tuple[Path, str]:
    """Make a repository with two commits, a tag on the first, a branch, and return it with its first commit."""
    folder = repository(base / "upstream", {**APP, "backend/api/__init__.py": "", "backend/requirements.txt": ""})
    first = run_git(folder, "rev-parse", "HEAD")
    run_git(folder, "tag", "--annotate", "v1", "--message", "One")
    run_git(folder, "branch", "feature/old")
    write_files(folder, {"second": "", "tool": ""})
    (folder / "tool").chmod(0o755)
    run_git(folder, "add", "--all")
    run_git(folder, "commit", "--quiet", "--message", "Second")
    return folder, first


@pytest.mark.parametrize("ref", ["v1", "feature/old", "COMMIT"])
def test_refs(packer: Packer, ref: str) -> None:
    folder, commit = upstream(packer.base)
    ref = ref.replace("COMMIT", commit)
    packed = packer(f"git+file://{folder}@{ref}")
    assert packed.kind == "git"
    assert packed.described == f"file://{folder}@{ref} ({commit[:12]})"
    assert set(members(packed)) == {*APP, "backend/api/__init__.py", "backend/requirements.txt"}
    assert os.listdir(packer.work) == [Path(packed.archive).name]


def test_a_branch_is_fetched_anew(packer: Packer) -> None:
    folder, _first = upstream(packer.base)
    before = packer(f"file://{folder}@main")
    write_files(folder, {"third": ""})
    run_git(folder, "add", "--all")
    run_git(folder, "commit", "--quiet", "--message", "Third")
    after = packer(f"file://{folder}@main")
    assert sorted(set(members(after)) - set(members(before))) == ["third"]


def test_git_and_directory_have_the_same_fingerprint(packer: Packer) -> None:
    folder, _first = upstream(packer.base)
    assert packer(f"git+file://{folder}@main").fingerprint == packer(folder).fingerprint


def test_a_known_commit_needs_no_server(packer: Packer) -> None:
    folder, commit = upstream(packer.base)
    before = packer(f"file://{folder}@{commit}")
    folder.rename(packer.base / "away")
    assert packer(f"file://{folder}@{commit}") == before


def test_a_subdirectory(packer: Packer) -> None:
    folder, _first = upstream(packer.base)
    packed = packer(f"git+file://{folder}@v1#subdirectory=backend", module="api:app")
    assert sorted(members(packed)) == ["api/__init__.py", "requirements.txt"]


def test_a_subdirectory_that_is_not_there(packer: Packer) -> None:
    folder, _first = upstream(packer.base)
    error = packer.refused(f"git+file://{folder}@v1#subdirectory=frontend")
    assert str(error) == f"file://{folder} at v1 has no folder 'frontend'"


@pytest.mark.parametrize("ref", ["v2", "0" * 40])
def test_a_ref_that_is_not_there(packer: Packer, ref: str) -> None:
    folder, _first = upstream(packer.base)
    expected = f"file://{folder} has no ref '{ref}'; name a tag, branch or full commit id"
    assert str(packer.refused(f"file://{folder}@{ref}")) == expected


def test_a_server_that_is_gone(packer: Packer) -> None:
    error = str(packer.refused(f"file://{packer.base}/nothing@v1"))
    assert error.startswith("the git server cannot be used: ")
    assert error.endswith(f"; check that 'git ls-remote file://{packer.base}/nothing' works on the control node")


@pytest.mark.parametrize("password", ["geheim", "ge@heim"])
def test_passwords_are_never_shown(packer: Packer, password: str) -> None:
    error = str(packer.refused(f"http://me:{password}@127.0.0.1:1/shop.git@v1"))
    assert error.startswith("the git server cannot be used: ")
    assert "heim" not in error
    assert "git ls-remote http://127.0.0.1:1/shop.git" in error


def test_passwords_are_not_described(packer: Packer, programs: t.Any) -> None:
    folder, commit = upstream(packer.base)
    git = shutil.which("git")
    programs.add(
        "git",
        f'for word; do case "$word" in https://*) word=file://{folder};; esac; set -- "$@" "$word"; '
        f'shift; done; exec {git} "$@"',
    )
    packed = packer("https://me:geheim@git.example.com/shop.git@v1")
    assert packed.described == f"https://git.example.com/shop.git@v1 ({commit[:12]})"


def test_submodules_of_a_git_source_are_refused(packer: Packer) -> None:
    folder = with_submodule(packer.base)
    expected = f"file://{folder} at main has submodules, which are not followed; deploy from a directory instead"
    assert str(packer.refused(f"file://{folder}@main")) == expected


def test_links_that_lead_out_of_a_git_source(packer: Packer) -> None:
    folder = repository(packer.base / "upstream", {"common.py": ""})
    write_files(folder / "app", APP)
    (folder / "app/common.py").symlink_to("../common.py")
    run_git(folder, "add", "--all")
    run_git(folder, "commit", "--quiet", "--message", "Link")
    assert (
        members(packer(f"file://{folder}@main", app_dir="app", requirements="app/requirements.txt"))["app/common.py"]
        == "-> ../common.py"
    )
    expected = "common.py is a link that leads out of the source; replace it by what it links to"
    assert str(packer.refused(f"git+file://{folder}@main#subdirectory=app")) == expected


def test_apps_of_one_repository_at_different_refs_at_once(packer: Packer) -> None:
    folder, _first = upstream(packer.base)
    for number in range(4):
        write_files(folder, {"number": str(number)})
        run_git(folder, "add", "--all")
        run_git(folder, "commit", "--quiet", "--message", f"{number}")
        run_git(folder, "tag", f"n{number}")
    found: dict[int, str] = {}

    def fetch(number: int) -> None:
        work = packer.work / str(number)
        work.mkdir()
        settings = {"source": f"file://{folder}@n{number}", "module": "shop.main:app"}
        found[number] = members(pack(settings, packer.base, work, packer.cache))["number"]

    threads = [threading.Thread(target=fetch, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: str(number) for number in range(4)}


def test_git_that_hangs(packer: Packer, programs: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    programs.add("git", "exec sleep 60")
    monkeypatch.setattr(_source, "GIT_SECONDS", 0.1)
    assert str(packer.refused("https://git.example.com/shop.git@v1")) == "git gave up after 0.1 s: init --quiet"


# -- how it is installed, and where imports start --------------------------------------------------------------------

HASHED = "fastapi==0.120.0 --hash=sha256:00\n"
MODULE = {"shop/main.py": ""}


@pytest.mark.parametrize(
    ("files", "chosen", "plan"),
    [
        ({"requirements.txt": "fastapi\n"}, None, ("requirements", "requirements.txt", False)),
        ({"requirements.txt": HASHED}, None, ("requirements", "requirements.txt", True)),
        ({"pylock.toml": "", "requirements.txt": ""}, None, ("requirements", "pylock.toml", False)),
        ({"pyproject.toml": PYPROJECT}, None, ("project", None, False)),
        ({"setup.py": ""}, None, ("project", None, False)),
        ({"pyproject.toml": PYPROJECT, "requirements.txt": ""}, None, ("requirements", "requirements.txt", False)),
        ({"pyproject.toml": PYPROJECT, "uv.lock": "", "pylock.toml": ""}, None, ("uv.lock", "uv.lock", True)),
        ({"uv.lock": "", "requirements.txt": ""}, None, ("requirements", "requirements.txt", False)),
        (
            {"uv.lock": "", "pyproject.toml": PYPROJECT, "req/a.txt": HASHED},
            "req/a.txt",
            ("requirements", "req/a.txt", True),
        ),
        ({"pylock.prod.toml": "--hash="}, "pylock.prod.toml", ("requirements", "pylock.prod.toml", False)),
    ],
)
def test_plans(packer: Packer, files: dict[str, str], chosen: str | None, plan: tuple[str, str | None, bool]) -> None:
    packed = packer(write_files(packer.base / "app", {**MODULE, **files}), requirements=chosen)
    assert packed.install == dict(zip(("method", "file", "hashed"), plan, strict=True))


def test_no_plan(packer: Packer) -> None:
    error = packer.refused(write_files(packer.base / "app", MODULE))
    assert (error.option, str(error)) == (
        "source",
        "it says nowhere what it depends on; add a uv.lock, pylock.toml, requirements.txt or pyproject.toml, "
        "or name the file with option requirements",
    )


def test_requirements_that_are_not_there(packer: Packer) -> None:
    error = packer.refused(write_files(packer.base / "app", APP), requirements="prod.txt")
    assert (error.option, str(error)) == ("requirements", "the source has no file 'prod.txt'")


@pytest.mark.parametrize(
    ("project", "expected"), [(PYPROJECT, ">=3.11"), ('[project]\nname = "shop"\n', ""), ("[tool.x]\n", "")]
)
def test_requires_python(packer: Packer, project: str, expected: str) -> None:
    folder = write_files(packer.base / "app", {**APP, "pyproject.toml": project})
    assert packer(folder).requires_python == expected


@pytest.mark.parametrize("content", [b"[project\n", b"\xff"])
def test_a_broken_pyproject(packer: Packer, content: bytes) -> None:
    folder = write_files(packer.base / "app", APP)
    (folder / "pyproject.toml").write_bytes(content)
    assert str(packer.refused(folder)).startswith("its pyproject.toml cannot be read: ")


R = {"requirements.txt": ""}
P = {"pyproject.toml": PYPROJECT}


@pytest.mark.parametrize(
    ("files", "module", "given", "app_dir"),
    [
        ({**R, "main.py": ""}, "main:app", None, "."),
        ({**R, "shop/main.py": ""}, "shop.main:app", None, "."),
        ({**R, "shop/__init__.py": ""}, "shop:app", None, "."),
        ({**R, "src/shop/main.py": ""}, "shop.main:app", None, "src"),
        ({**R, "shop/main.py": "", "src/shop/main.py": ""}, "shop.main:app", None, "."),
        ({**R, "shop/main.py": "", "src/shop/main.py": ""}, "shop.main:app", "src", "src"),
        ({**R, "back/end/main.py": ""}, "main:app", "/back/end/", "back/end"),
        ({**R, "shop/api/__init__.py": ""}, "shop.api:app", None, "."),
        ({**P, "src/shop/main.py": ""}, "shop.main:app", None, "src"),
        ({**P, "lib/shop/main.py": ""}, "shop.main:app", None, "."),
        ({**P, "shop/x.py": ""}, "shop.generated:app", None, "."),
    ],
)
def test_where_imports_start(
    packer: Packer, files: dict[str, str], module: str, given: str | None, app_dir: str
) -> None:
    assert packer(write_files(packer.base / "app", files), module=module, app_dir=given).app_dir == app_dir


@pytest.mark.parametrize(
    ("files", "module", "given", "message"),
    [
        (R, "shop.main:app", None, "the source has no shop.py or shop/"),
        (
            {**R, "backend/main.py": "", "app.py": ""},
            "shop.main:app",
            None,
            "the source has no shop.py or shop/; it has app.py, backend/main.py",
        ),
        ({**R, "shop/x.py": ""}, "shop.main:app", None, "the source has no shop/main.py"),
        ({**R, "src/shop/x.py": ""}, "shop.main:app", None, "the source has no src/shop/main.py"),
        ({**R, "main.py": ""}, "main:app", "src", "the source has no main.py or main/ in src; it has main.py"),
        (P, "main:app", "src", "the source has no main.py or main/ in src"),
    ],
)
def test_modules_that_are_not_there(
    packer: Packer, files: dict[str, str], module: str, given: str | None, message: str
) -> None:
    error = packer.refused(write_files(packer.base / "app", files), module=module, app_dir=given)
    assert (error.option, str(error)) == ("module", f"'{module}' cannot be imported: {message}")


# -- distributions --------------------------------------------------------------------------------------------------

METADATA = "Metadata-Version: 2.1\nName: shop\nVersion: 1.0\nRequires-Python: >=3.11\n\nText\n"


def wheel(folder: Path, files: dict[str, str] | None = None) -> Path:
    path = folder / "shop-1.0-py3-none-any.whl"
    given = {"shop/__init__.py": "", "shop/main.py": "", "shop-1.0.dist-info/METADATA": METADATA}
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in (given if files is None else files).items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return path


def test_a_wheel(packer: Packer) -> None:
    path = wheel(packer.base)
    packed = packer(path.name)
    with tarfile.open(packed.archive) as archive:
        assert archive.getnames() == [path.name]
    assert (packed.kind, packed.described, packed.app_dir, packed.requires_python) == ("file", str(path), ".", ">=3.11")
    assert packed.install == {
        "method": "distribution",
        "distribution": f"./{path.name}",
        "file": None,
        "hashed": False,
    }


@pytest.mark.parametrize(("content", "reason"), [(b"no zip", "File is not a zip file"), (None, "it has no METADATA")])
def test_a_wheel_that_is_none(packer: Packer, content: bytes | None, reason: str) -> None:
    path = wheel(packer.base, {"shop/__init__.py": ""})
    if content:
        path.write_bytes(content)
    assert str(packer.refused(path)) == f"{path} is no wheel: {reason}"


def test_a_wheel_of_something_else(packer: Packer) -> None:
    files = {"blog/__init__.py": "", "api/__init__.py": "", "blog-1.dist-info/METADATA": METADATA}
    error = packer.refused(wheel(packer.base, files))
    assert (error.option, str(error)) == (
        "module",
        "'shop.main:app' cannot be imported: the wheel has no shop; it has api, blog",
    )


def test_a_wheel_without_requires_python(packer: Packer) -> None:
    path = wheel(packer.base, {"shop.py": "", "shop-1.dist-info/METADATA": "Name: shop\n"})
    assert packer(path, module="shop:app").requires_python == ""


@pytest.mark.parametrize(("text", "hashed"), [("fastapi==0.120.0\n", False), (HASHED, True)])
def test_requirements_of_a_wheel_lie_on_the_control_node(packer: Packer, text: str, *, hashed: bool) -> None:
    (packer.base / "pins.txt").write_text(text)
    packed = packer(wheel(packer.base), requirements="pins.txt")
    assert packed.install["file"] == "requirements.txt"
    assert packed.install["hashed"] is hashed
    assert members_text(packed, "requirements.txt") == text
    assert packed.fingerprint != packer(wheel(packer.base)).fingerprint


def members_text(packed: Packed, name: str) -> str:
    with tarfile.open(packed.archive) as archive:
        file = archive.extractfile(name)
        assert file
        return file.read().decode()


def test_requirements_of_a_wheel_that_are_not_there(packer: Packer) -> None:
    error = packer.refused(wheel(packer.base), requirements="pins.txt")
    assert (error.option, str(error)) == (
        "requirements",
        f"there is no {packer.base}/pins.txt; paths are relative to the inventory's folder",
    )


def test_an_sdist(packer: Packer) -> None:
    (packer.base / "shop-1.0.tar.gz").write_bytes(b"x")
    packed = packer("shop-1.0.tar.gz", app_dir="lib")
    assert (packed.kind, packed.app_dir, packed.install["distribution"]) == ("file", "lib", "./shop-1.0.tar.gz")


def test_a_requirement(packer: Packer) -> None:
    packed = packer("shop==1.4.2")
    assert members(packed) == {}
    assert (packed.kind, packed.described) == ("requirement", "shop==1.4.2")
    assert packed.install == {"method": "distribution", "distribution": "shop==1.4.2", "file": None, "hashed": False}
    assert packed.fingerprint != packer("shop==1.4.3").fingerprint
    assert packed.fingerprint == packer("shop==1.4.2").fingerprint


def test_as_dict_is_plain(packer: Packer) -> None:
    assert packer("shop==1.4.2").as_dict()["install"]["distribution"] == "shop==1.4.2"
