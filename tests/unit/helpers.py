# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What several unit tests need: certificates, programs that stand in for others, apps."""

from __future__ import annotations

import datetime
import importlib
import os
import subprocess
import typing as t
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ROOT = Path(__file__).resolve().parents[2]
# The same folder as Ansible finds it.
COLLECTION = ROOT / ".collections/ansible_collections/paddock/fastapi"
AS_ROOT = os.geteuid() == 0

OLD = "20261120T080000Z-aaaaaaaaaaaa"
LIVE = "20261121T090000Z-bbbbbbbbbbbb"
NEW = "20261122T154042Z-cccccccccccc"


def an_app(**options: t.Any) -> dict[str, t.Any]:
    """Write an app as short as one can, with some options."""
    return {"name": "shop", "source": "../shop", "module": "shop.main:app", "domains": ["shop.example.com"], **options}


def trusted(value: t.Any) -> t.Any:
    """Mark what a user or a file of ours says as ansible-core 2.19 and later want it before they template it."""
    try:
        trust = importlib.import_module("ansible.template").trust_as_template
    except AttributeError:  # before 2.19
        return value
    if isinstance(value, dict):
        return {name: trusted(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [trusted(inner) for inner in value]
    return trust(value) if isinstance(value, str) else value


def write_files(folder: Path, files: Mapping[str, str]) -> Path:
    """Fill a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def run_git(folder: Path, *arguments: str) -> str:
    """Run git as nobody in particular, whatever this machine's settings are."""
    settings = (
        "user.email=test@example.com",
        "user.name=Test",
        "protocol.file.allow=always",
        "init.defaultBranch=main",
    )
    command = ["git", *(word for setting in settings for word in ("-c", setting)), *arguments]
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def repository(folder: Path, files: Mapping[str, str]) -> Path:
    """Make a git repository with one commit."""
    folder.mkdir(parents=True, exist_ok=True)
    run_git(folder, "init", "--quiet")
    write_files(folder, files)
    run_git(folder, "add", "--all")
    run_git(folder, "commit", "--quiet", "--allow-empty", "--message", "First")
    return folder


def a_key() -> ec.EllipticCurvePrivateKey:
    """Make a key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey, password: bytes | None = None) -> bytes:
    """Write a key."""
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def certificate_pem(
    key: ec.EllipticCurvePrivateKey, domains: list[str], *, first: float = -1, last: float = 90
) -> bytes:
    """Make a self-signed certificate. first, last: days from now."""
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=first))
        .not_valid_after(now + datetime.timedelta(days=last))
    )
    if domains:
        names = x509.SubjectAlternativeName([x509.DNSName(domain) for domain in domains])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class Programs:
    """Programs found first on the path, each of which writes down how it was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / ".calls"
        self.folder.mkdir()

    def add(self, name: str, script: str = "") -> Path:
        """Make a program, in sh; its arguments have been written down when the script begins."""
        path = self.folder / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.log}\n{script}\n', encoding="utf-8")
        path.chmod(0o755)
        return path

    @property
    def calls(self) -> list[str]:
        """All calls so far."""
        return self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []


class Exit(SystemExit):
    """How a module ended."""

    def __init__(self, result: dict[str, t.Any]) -> None:
        super().__init__()
        self.result = result


RunModule = Callable[..., dict[str, t.Any]]


def release_folder(app_root: Path, release: str, *, complete: bool = True) -> Path:
    """Make a release as a build leaves it."""
    folder = app_root / "releases" / release
    folder.mkdir(parents=True)
    if complete:
        (folder / "release.json").write_text('{"source": "test", "size_mb": 1}', encoding="utf-8")
    return folder


def documentation(text: str) -> dict[str, t.Any]:
    """Read a plugin's DOCUMENTATION."""
    return t.cast("dict[str, t.Any]", yaml.safe_load(text))


def enable_units(units: Path, *names: str) -> None:
    """Have units come up at boot, as systemctl enable would."""
    for name in names:
        folder = units / ("sockets.target.wants" if name.endswith(".socket") else "multi-user.target.wants")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to("/dev/null")
