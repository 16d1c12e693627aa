# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack and fingerprint what a user wants deployed, on the control node: every host then gets the same bytes.

A source is a directory, a git URL at a ref, a wheel or sdist file, or a requirement of the package index.
Whatever it is, the result is one tar archive that a release's `src` is unpacked from, and a plan how to install it.
"""

from __future__ import annotations

import dataclasses
import email.parser
import fcntl
import functools
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
import typing as t
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

# What comes before the @ of a ref: an URL or scp-like address that has a path already.
GIT_ADDRESS = re.compile(r"(?:https?|ssh|git|file)://[^/\s]*/\S+|[\w.-]+@[\w.-]+:\S+")
GIT_SECONDS = 300
# Never part of an app, whether a .gitignore says so or not.
JUNK = frozenset({".git", "__pycache__", ".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox", ".nox"})
# What wheels allow at the earliest, for projects that are built on the host.
MTIME = 315532800


class SourceError(ValueError):
    """The source cannot be packed. `option` is the app's option at fault."""

    def __init__(self, message: str, option: str = "source") -> None:
        super().__init__(message)
        self.option = option


@dataclass(frozen=True)
class Packed:
    """A source, ready to be sent.

    fingerprint: equal if and only if what would be deployed is equal. described: for people.
    install: how _build.py installs it. app_dir: where imports start, relative to src.
    """

    kind: str
    fingerprint: str
    described: str
    archive: str
    install: dict[str, t.Any] = field(default_factory=dict)
    app_dir: str = "."
    requires_python: str = ""

    def as_dict(self) -> dict[str, t.Any]:
        """Return it as a plain mapping."""
        return dataclasses.asdict(self)


def classify(source: str, base: Path) -> str:
    """Tell what kind of source this is: directory, git, file or requirement."""
    if source.startswith("git+") or re.match(r"(https?|ssh|git|file)://|[\w.-]+@[\w.-]+:", source):
        _git_parts(source)
        return "git"
    path = locate(source, base)
    if path.is_dir():
        return "directory"
    if path.is_file():
        if path.name.endswith((".whl", ".tar.gz", ".zip")):
            return "file"
        raise SourceError(f"{path} is a file, but neither a wheel (.whl) nor an sdist (.tar.gz, .zip)")
    if "/" in source or source.startswith(("~", ".")) or source.endswith((".whl", ".tar.gz", ".zip")):
        raise SourceError(f"there is no {path}; paths are relative to the inventory's folder")
    # ansible-core brings it; whoever only lists plugins need not have it.
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415

    try:
        requirement = Requirement(source)
    except InvalidRequirement:
        raise SourceError(
            f"{source!r} is no known kind of source; write a directory, GIT-URL@REF, a wheel or sdist file, "
            "or a requirement such as shop==1.4.2"
        ) from None
    pins = list(requirement.specifier)
    if requirement.url or len(pins) != 1 or pins[0].operator not in ("==", "===") or pins[0].version.endswith("*"):
        raise SourceError(
            f"{_without_password(source)!r} is not pinned; write the one version that is to run, "
            f"such as {requirement.name}==1.4.2"
        )
    return "requirement"


def locate(path: str, base: Path) -> Path:
    """Find a file that the user named: relative to the inventory, `~` as the shell has it."""
    return Path(os.path.normpath(base / Path(path).expanduser()))


def pack(settings: Mapping[str, t.Any], base: Path, work: Path, cache: Path) -> Packed:
    """Pack the source of an app into a file below `work`. `cache` keeps git objects between runs.

    Raises SourceError, whose message says what is wrong and how to mend it.
    """
    source = settings["source"]
    kind = classify(source, base)
    packer: Callable[[str, Mapping[str, t.Any], Path, Path, Path], Packed] = {
        "directory": _pack_directory,
        "git": _pack_git,
        "file": _pack_file,
        "requirement": _pack_requirement,
    }[kind]
    return packer(source, settings, base, work, cache)


# -- trees: a directory, or a commit --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Entry:
    """A file or link of a tree. data is called once, when it is packed."""

    name: str
    executable: bool
    link: str | None
    data: Callable[[], bytes]


def _pack_directory(source: str, settings: Mapping[str, t.Any], base: Path, work: Path, _cache: Path) -> Packed:
    folder = locate(source, base)
    entries = [_file_entry(folder, name) for name in sorted(_list_files(folder))]
    if not entries:
        raise SourceError(f"{folder} holds no files, or all of them are ignored by a .gitignore")
    archive, fingerprint = _write_archive(entries, work)
    return _tree(entries, settings, Packed("directory", fingerprint, str(folder), archive))


def _file_entry(folder: Path, name: str) -> _Entry:
    path = folder / name
    if path.is_symlink():
        return _link_entry(name, str(path.readlink()), str(path))
    return _Entry(name, os.access(path, os.X_OK), None, path.read_bytes)


def _link_entry(name: str, target: str, described: str) -> _Entry:
    inside = os.path.normpath(PurePosixPath(name).parent / target)
    if inside.startswith(("/", "../")) or inside == "..":
        raise SourceError(f"{described} is a link that leads out of the source; replace it by what it links to")
    return _Entry(name, executable=False, link=target, data=bytes)


def _list_files(folder: Path) -> list[str]:
    """List what belongs to a source: everything but what git ignores, as git itself sees it."""
    git = shutil.which("git")
    if git and _git_says(folder, "rev-parse", "--is-inside-work-tree") == "true":
        names = _ls_files(folder, "--cached")
    elif not git and any((place / ".git").exists() for place in (folder, *folder.parents)):
        raise SourceError(
            f"{folder} is in a git work tree, and only git can tell what it ignores; install git on the control node"
        )
    elif not any(".gitignore" in files for _root, _folders, files in os.walk(folder)):
        names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or path.is_file()]
    elif git:
        with tempfile.TemporaryDirectory() as empty:
            _git(folder, "init", "--quiet", "--bare", empty)
            names = _ls_files(folder, prefix=(f"--git-dir={empty}", "--work-tree=."))
    else:
        raise SourceError(f"{folder} has a .gitignore, which only git can read; install git on the control node")
    result = []
    for name in names:
        path = folder / name
        if path.is_dir() and not path.is_symlink():  # a submodule: git lists it as one entry
            if (path / ".git").exists():
                result += [f"{name.rstrip('/')}/{inner}" for inner in _list_files(path)]
            elif not any(path.iterdir()):
                raise SourceError(f"{path} is a submodule that is not there; run 'git submodule update --init'")
        elif path.is_symlink() or path.is_file():  # a deleted file is listed until its removal is committed
            result.append(name)
    return [name for name in result if not _is_junk(folder, name)]


def _is_junk(folder: Path, name: str) -> bool:
    parts = PurePosixPath(name).parts
    if JUNK.intersection(parts) or name.endswith((".pyc", ".pyo")):
        return True
    # A virtual environment of any name: it would be of this machine, and large.
    return any((folder.joinpath(*parts[:depth]) / "pyvenv.cfg").is_file() for depth in range(1, len(parts)))


def _ls_files(folder: Path, *more: str, prefix: tuple[str, ...] = ()) -> list[str]:
    # core.excludesFile: what one person's git ignores must not change what is deployed.
    listed = _git(
        folder,
        *prefix,
        "-c",
        f"core.excludesFile={os.devnull}",
        "ls-files",
        "-z",
        "--others",
        "--exclude-standard",
        *more,
    )
    return sorted({name for name in listed.split("\0") if name})


def _git(folder: Path, *arguments: str) -> str:
    """Run git without ever waiting for a password."""
    environment = {
        **{
            name: value
            for name, value in os.environ.items()
            if name not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
        },
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"),
        "LC_ALL": "C",
    }
    command = ["git", "-c", "safe.directory=*", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            errors="surrogateescape",  # as Python has names of files that are not UTF-8
            timeout=GIT_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise SourceError("git is not installed on the control node; install it to deploy from git") from None
    except subprocess.TimeoutExpired:
        raise SourceError(f"git gave up after {GIT_SECONDS} s: {' '.join(arguments[:2])}") from None
    if done.returncode:
        raise SourceError(done.stderr.strip() or f"git {arguments[0]} failed")
    return done.stdout


def _git_says(folder: Path, *arguments: str) -> str:
    try:
        return _git(folder, *arguments).strip()
    except SourceError:
        return ""


def _git_parts(source: str) -> tuple[str, str, str]:
    """Split a git source into its URL, its ref and a folder of the tree."""
    address, _separator, folder = source.removeprefix("git+").partition("#subdirectory=")
    url, _at, ref = address.rpartition("@")
    if not ref or not GIT_ADDRESS.fullmatch(url):
        raise SourceError(
            f"{_without_password(source)!r} names no ref; write GIT-URL@REF with a tag, branch or commit, "
            "such as …/shop.git@v1.4"
        )
    return url, ref, folder.strip("/")


def _pack_git(source: str, settings: Mapping[str, t.Any], _base: Path, work: Path, cache: Path) -> Packed:
    url, ref, folder = _git_parts(source)
    store = cache / "git" / hashlib.sha256(url.encode()).hexdigest()[:16]
    store.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Runs and apps share it, and a fetch leaves its result in one file.
    with (store / "paddock.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (store / "HEAD").exists():
            _git(store, "init", "--quiet", "--bare", ".")
        commit = _fetch(store, url, ref)
    tree = _git_says(store, "rev-parse", "--verify", "--quiet", f"{commit}:{folder}")
    if not tree:
        raise SourceError(f"{url} at {ref} has no folder {folder!r}")
    if any(line.startswith("160000 ") for line in _git(store, "ls-tree", "-r", tree).splitlines()):
        raise SourceError(f"{url} at {ref} has submodules, which are not followed; deploy from a directory instead")
    exported = work / f"{tree}.export.tar"
    _git(store, "archive", "--format=tar", f"--output={exported}", tree)
    with tarfile.open(exported) as archive:
        entries = sorted(_archived(archive), key=lambda entry: entry.name)
    exported.unlink()
    path, fingerprint = _write_archive(entries, work)
    return _tree(entries, settings, Packed("git", fingerprint, f"{_without_password(url)}@{ref} ({commit[:12]})", path))


def _fetch(store: Path, url: str, ref: str) -> str:
    """Fetch one ref, without its history, and return its commit."""
    if re.fullmatch(r"[0-9a-f]{40}", ref) and _git_says(store, "cat-file", "-t", ref) == "commit":
        return ref
    try:
        _git(store, "fetch", "--quiet", "--depth=1", "--no-tags", url, ref)
    except SourceError as error:
        reason = _without_password(str(error))
        if "couldn't find remote ref" in reason or "not our ref" in reason:
            raise SourceError(
                f"{_without_password(url)} has no ref {ref!r}; name a tag, branch or full commit id"
            ) from None
        raise SourceError(
            f"the git server cannot be used: {reason.splitlines()[-1]}; "
            f"check that 'git ls-remote {_without_password(url)}' works on the control node"
        ) from None
    return _git(store, "rev-parse", "FETCH_HEAD^{commit}").strip()


def _without_password(url: str) -> str:
    # Up to the last @, because people write passwords with an @ in them.
    return re.sub(r"//[^/\s]*@", "//", url)


def _archived(archive: tarfile.TarFile) -> Iterable[_Entry]:
    for member in archive.getmembers():
        if member.issym():
            yield _link_entry(member.name, member.linkname, member.name)
        elif member.isfile():
            file = archive.extractfile(member)
            content = file.read() if file else b""
            yield _Entry(member.name, bool(member.mode & 0o100), None, functools.partial(bytes, content))


def _tree(entries: list[_Entry], settings: Mapping[str, t.Any], packed: Packed) -> Packed:
    """Work out from a tree how it is installed and where its imports start."""
    files = {entry.name: entry for entry in entries}
    project = _project(files)
    install = _install_plan(files, settings.get("requirements"))
    return dataclasses.replace(
        packed,
        install=install,
        app_dir=_app_dir(files, settings, installed=install["method"] in ("uv.lock", "project")),
        requires_python=str(project.get("requires-python", "")),
    )


def _project(files: Mapping[str, _Entry]) -> dict[str, t.Any]:
    if "pyproject.toml" not in files:
        return {}
    try:
        return t.cast("dict[str, t.Any]", tomllib.loads(files["pyproject.toml"].data().decode()).get("project", {}))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SourceError(f"its pyproject.toml cannot be read: {error}") from None


def _install_plan(files: Mapping[str, _Entry], chosen: str | None) -> dict[str, t.Any]:
    """Prefer what pins most: a lock, hashed requirements, requirements, the bare project."""
    if chosen:
        if chosen not in files:
            raise SourceError(f"the source has no file {chosen!r}", "requirements")
        return _requirements_plan(chosen, files[chosen].data())
    if "uv.lock" in files and "pyproject.toml" in files:
        return {"method": "uv.lock", "file": "uv.lock", "hashed": True}
    for name in ("pylock.toml", "requirements.txt"):
        if name in files:
            return _requirements_plan(name, files[name].data())
    if "pyproject.toml" in files or "setup.py" in files:
        return {"method": "project", "file": None, "hashed": False}
    raise SourceError(
        "it says nowhere what it depends on; add a uv.lock, pylock.toml, requirements.txt or pyproject.toml, "
        "or name the file with option requirements"
    )


def _requirements_plan(name: str, content: bytes) -> dict[str, t.Any]:
    pylock = PurePosixPath(name).name.startswith("pylock.") and name.endswith(".toml")
    # uv checks the hashes of a pylock.toml without being told.
    return {"method": "requirements", "file": name, "hashed": not pylock and b"--hash=" in content}


def _app_dir(files: Mapping[str, _Entry], settings: Mapping[str, t.Any], *, installed: bool) -> str:
    """Find where the import string's package lies, and say so early if it lies nowhere."""
    module = str(settings["module"]).partition(":")[0]
    top = module.partition(".")[0]
    given = settings.get("app_dir")
    places = [str(given).strip("/") or "."] if given else [".", "src"]
    for place in places:
        prefix = "" if place == "." else f"{place}/"
        if any(name.startswith(f"{prefix}{top}/") or name == f"{prefix}{top}.py" for name in files):
            path = f"{prefix}{module.replace('.', '/')}"
            if any(f"{path}{ending}" in files for ending in (".py", "/__init__.py")) or installed:
                return place
            raise SourceError(f"{settings['module']!r} cannot be imported: the source has no {path}.py", "module")
    if installed and not given:
        return "."
    known = sorted(name for name in files if name.endswith(("main.py", "app.py")))
    hint = f"; it has {', '.join(known[:3])}" if known else ""
    where = f" in {places[0]}" if given else ""
    raise SourceError(
        f"{settings['module']!r} cannot be imported: the source has no {top}.py or {top}/{where}{hint}", "module"
    )


# -- distributions: a file, or the index ----------------------------------------------------------------------------


def _pack_file(source: str, settings: Mapping[str, t.Any], base: Path, work: Path, _cache: Path) -> Packed:
    path = locate(source, base)
    content = path.read_bytes()
    requires = _wheel_requires_python(path, settings) if path.suffix == ".whl" else ""
    entries = [_Entry(path.name, executable=False, link=None, data=lambda: content)]
    plan: dict[str, t.Any] = {"method": "distribution", "distribution": f"./{path.name}", "file": None, "hashed": False}
    return _distribution("file", str(path), entries, plan, settings, base, work, requires)


def _pack_requirement(source: str, settings: Mapping[str, t.Any], base: Path, work: Path, _cache: Path) -> Packed:
    plan = {"method": "distribution", "distribution": source, "file": None, "hashed": False}
    return _distribution("requirement", source, [], plan, settings, base, work, "")


def _distribution(
    kind: str,
    described: str,
    entries: list[_Entry],
    plan: dict[str, t.Any],
    settings: Mapping[str, t.Any],
    base: Path,
    work: Path,
    requires_python: str,
) -> Packed:
    if chosen := settings.get("requirements"):
        path = locate(chosen, base)
        if not path.is_file():
            raise SourceError(f"there is no {path}; paths are relative to the inventory's folder", "requirements")
        pinned = path.read_bytes()
        entries = [*entries, _Entry("requirements.txt", executable=False, link=None, data=lambda: pinned)]
        plan |= {"file": "requirements.txt", "hashed": b"--hash=" in pinned}
    archive, fingerprint = _write_archive(entries, work)
    mixed = hashlib.sha256(f"{fingerprint} {plan['distribution']}".encode()).hexdigest()
    return Packed(kind, mixed, described, archive, plan, str(settings.get("app_dir") or "."), requires_python)


def _wheel_requires_python(path: Path, settings: Mapping[str, t.Any]) -> str:
    try:
        with zipfile.ZipFile(path) as wheel:
            names = wheel.namelist()
            metadata = next((name for name in names if name.endswith(".dist-info/METADATA")), "")
            text = wheel.read(metadata).decode() if metadata else ""
    except (zipfile.BadZipFile, KeyError) as error:
        raise SourceError(f"{path} is no wheel: {error}") from None
    if not metadata:
        raise SourceError(f"{path} is no wheel: it has no METADATA")
    top = str(settings["module"]).partition(":")[0].partition(".")[0]
    if not any(name.startswith((f"{top}/", f"{top}.")) for name in names):
        packages = sorted({name.partition("/")[0] for name in names if name.endswith("/__init__.py")})
        raise SourceError(
            f"{settings['module']!r} cannot be imported: the wheel has no {top}; it has {', '.join(packages)}", "module"
        )
    return email.parser.Parser().parsestr(text).get("Requires-Python", "") or ""


# -- archives -------------------------------------------------------------------------------------------------------


def _write_archive(entries: Iterable[_Entry], work: Path) -> tuple[str, str]:
    """Write a tar archive that depends on names, contents and executable bits alone, and return it and its digest."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        made: set[str] = set()
        for entry in entries:
            for parent in reversed(PurePosixPath(entry.name).parents[:-1]):
                if str(parent) not in made:
                    made.add(str(parent))
                    archive.addfile(_member(str(parent), 0o755, tarfile.DIRTYPE))
            if entry.link is not None:
                member = _member(entry.name, 0o777, tarfile.SYMTYPE)
                member.linkname = entry.link
                archive.addfile(member)
                continue
            content = entry.data()
            member = _member(entry.name, 0o755 if entry.executable else 0o644, tarfile.REGTYPE)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    fingerprint = hashlib.sha256(buffer.getvalue()).hexdigest()
    path = work / f"{fingerprint}.tar.gz"
    # Level 1: it is sent once per host, and the control node's time counts.
    path.write_bytes(gzip.compress(buffer.getvalue(), compresslevel=1, mtime=0))
    return str(path), fingerprint


def _member(name: str, mode: int, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mode, member.type, member.mtime = mode, kind, MTIME
    return member
