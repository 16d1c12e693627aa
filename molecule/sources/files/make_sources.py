"""Make one tiny app in every form that a source can have: make_sources.py FOLDER.

It is a bare ASGI app, so that only the collection's server packages have to be fetched, and idna for what is pinned.
"""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

APP = """
import idna

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%s with idna " + idna.__version__.encode()})
"""
PROJECT = """
[project]
name = "%s"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["idna==3.10"]
"""
FOLDER = Path(sys.argv[1])
# uv has authorities of its own; behind a proxy that looks into TLS only the machine's are right.
ENVIRONMENT = {**os.environ, "UV_SYSTEM_CERTS": "1"}


def put(path: Path, text: str) -> None:
    """Write a file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def run(*command: str, cwd: Path) -> None:
    """Run a command that must succeed."""
    subprocess.run(command, cwd=cwd, env=ENVIRONMENT, check=True)


def locked() -> None:
    """Make a directory with a uv.lock, and a file that its .gitignore leaves out."""
    folder = FOLDER / "locked"
    put(folder / "locked.py", APP % "locked")
    put(folder / "pyproject.toml", PROJECT % "locked")
    put(folder / ".gitignore", "ignored.txt\n")
    put(folder / "ignored.txt", "not for the host\n")
    run("uv", "lock", "--quiet", cwd=folder)


def repository() -> None:
    """Make a git repository with the app in a folder, tagged v1, and a later commit that breaks it."""
    folder = FOLDER / "repository"
    put(folder / "services/gitted/src/gitted.py", APP % "gitted")
    put(folder / "services/gitted/pyproject.toml", PROJECT % "gitted")
    put(folder / "services/gitted/requirements.txt", "idna==3.10\n")
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    run("git", "init", "--quiet", cwd=folder)
    run("git", "add", ".", cwd=folder)
    run("git", *identity, "commit", "--quiet", "--message=works", cwd=folder)
    run("git", "tag", "v1", cwd=folder)
    put(folder / "services/gitted/src/gitted.py", "app = None\n")
    run("git", *identity, "commit", "--quiet", "--all", "--message=broken", cwd=folder)


def wheel(name: str, folder: Path) -> Path:
    """Make a wheel as the format asks (PEP 427)."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: idna==3.10\n"
    files = {
        f"{name}.py": APP % name,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        record = ""
        for file, text in files.items():
            archive.writestr(file, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{file},sha256={digest},{len(text.encode())}\n"
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    return path


def sdist() -> None:
    """Make a source distribution with uv's own build backend, which needs nothing more."""
    folder = FOLDER / "sdist"
    put(folder / "src/packed/__init__.py", APP % "packed")
    backend = '\n[build-system]\nrequires = ["uv_build>=0.9"]\nbuild-backend = "uv_build"\n'
    put(folder / "pyproject.toml", PROJECT % "packed" + backend)
    run("uv", "build", "--quiet", "--sdist", "--out-dir", str(FOLDER / "dist"), cwd=folder)


def index() -> None:
    """Make a package index (PEP 503) that has one wheel, and the requirements file that pins it by hash."""
    made = wheel("indexed", FOLDER / "index/simple/indexed")
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    put(made.parent / "index.html", f'<a href="{made.name}#sha256={digest}">{made.name}</a>\n')
    pinned = subprocess.run(
        ["uv", "pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-emit-index-url", "-"],
        input="idna==3.10\n",
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        check=True,
    ).stdout
    put(FOLDER / "indexed.txt", f"indexed==1.0 --hash=sha256:{digest}\n{pinned}")


shutil.rmtree(FOLDER, ignore_errors=True)
locked()
repository()
wheel("wheeled", FOLDER / "dist")
sdist()
index()
