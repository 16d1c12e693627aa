# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates and their keys on a host, as its openssl sees them. Standard library only."""

from __future__ import annotations

import os
import re
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.paddock.fastapi.plugins.module_utils._command import run
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import fsync_folder, holds, put, stage


@dataclass(frozen=True)
class Certificate:
    """What a certificate says. first, last: when it is valid, in seconds since the epoch."""

    names: frozenset[str]
    public: str
    first: float
    last: float
    selfsigned: bool

    def seconds_left(self) -> float:
        """Return how long it is still valid."""
        return self.last - time.time()


def openssl(*arguments: str, stdin: str = "") -> tuple[int, str]:
    """Run openssl and return its exit code and what it printed."""
    # OpenSSL 3.0 reads all authorities that it finds, a fortieth of a second each time. None is asked for here.
    done = run(["openssl", *arguments], stdin=stdin, env={**os.environ, "SSL_CERT_FILE": os.devnull})
    return done.returncode, done.stdout if done.returncode == 0 else done.stdout + done.stderr


def inspect(text: str) -> Certificate | None:
    """Read the first certificate of a PEM text, if there is one."""
    shown = ("-noout", "-pubkey", "-subject", "-issuer", "-dates", "-ext", "subjectAltName")
    failed, said = openssl("x509", *shown, stdin=text)
    if failed:
        return None
    values = dict(re.findall(r"^(subject|issuer|notBefore|notAfter)=(.*)$", said, re.MULTILINE))
    public = re.search(r"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", said, re.DOTALL)
    return Certificate(
        names=frozenset(name.lower() for name in re.findall(r"DNS:([^\s,]+)", said)),
        public=public.group() if public else "",
        first=ssl.cert_time_to_seconds(values["notBefore"]),
        last=ssl.cert_time_to_seconds(values["notAfter"]),
        selfsigned=values["subject"] == values["issuer"],
    )


def public_of(key: str) -> str:
    """Return the public half of a key in PEM, or nothing if it cannot be read, such as for its passphrase."""
    failed, said = openssl("pkey", "-pubout", "-passin", "pass:", stdin=key)
    return "" if failed else said.strip()


@dataclass(frozen=True)
class Pair:
    """A certificate with its chain, and its key, as two files or what is to be in them."""

    certificate: str
    # Nothing of it in a traceback.
    key: str = field(repr=False)

    @classmethod
    def read(cls, certificate: Path, key: Path) -> Pair | None:
        """Read both files, if they are there."""
        if not (certificate.is_file() and key.is_file()):
            return None
        # What is no text is no PEM either.
        return cls(*(path.read_text(encoding="utf-8", errors="replace") for path in (certificate, key)))

    def why_mismatch(self) -> str:
        """Say why NGINX could not load it, or nothing if it can."""
        found = inspect(self.certificate)
        if not found:
            return "it cannot be read"
        return "" if found.public == public_of(self.key) else "it does not belong to its key"

    def is_in(self, certificate: Path, key: Path) -> bool:
        """Tell whether both files are just so."""
        return all(holds(path, text.encode(), mode) for path, text, mode in self._files(certificate, key))

    def write(self, certificate: Path, key: Path) -> None:
        """Put both files in place by two renames, one right after the other: NGINX would not start in between."""
        files = self._files(certificate, key)
        for path, text, mode in files:
            stage(path, text, mode)
        for path, _text, _mode in files:
            put(path)
        fsync_folder(certificate.parent)

    def _files(self, certificate: Path, key: Path) -> list[tuple[Path, str, int]]:
        return [(key, self.key, 0o600), (certificate, self.certificate, 0o644)]
