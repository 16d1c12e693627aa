# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a certificate and its key on the control node, before any host sees them."""

from __future__ import annotations

import datetime
import typing as t
from pathlib import Path

# Imported where it is used: whoever lists plugins need not have it, though ansible-core itself does.
if t.TYPE_CHECKING:
    from cryptography import x509


class CertificateError(ValueError):
    """The pair cannot be used. `option` is certificate or key."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option


def check_pair(certificate: Path, key: Path, domains: list[str]) -> None:
    """Check that the certificate belongs to the key, is valid today, and names every domain.

    Raises CertificateError, whose message says what is wrong and how to mend it.
    """
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    leaf = _leaf(certificate)
    content = _read("key", key)
    try:
        private = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError) as error:
        raise CertificateError("key", f"{key} is no PEM key without a passphrase: {error}") from None
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if private.public_key().public_bytes(encoding, form) != leaf.public_key().public_bytes(encoding, form):
        raise CertificateError("key", f"{key} is not the key of {certificate}; name the pair that was issued together")
    now = datetime.datetime.now(datetime.UTC)
    if leaf.not_valid_after_utc < now:
        raise CertificateError("certificate", f"{certificate} expired on {leaf.not_valid_after_utc:%Y-%m-%d}; renew it")
    if leaf.not_valid_before_utc > now:
        raise CertificateError("certificate", f"{certificate} is valid only from {leaf.not_valid_before_utc:%Y-%m-%d}")
    names = _names(leaf)
    missing = [domain for domain in domains if not _covers(names, domain.lower())]
    if missing:
        raise CertificateError(
            "certificate",
            f"{certificate} does not name {', '.join(missing)}; it names {', '.join(sorted(names)) or 'nothing'}",
        )


def _leaf(path: Path) -> x509.Certificate:
    from cryptography import x509  # noqa: PLC0415

    content = _read("certificate", path)
    try:
        return x509.load_pem_x509_certificates(content)[0]
    except ValueError as error:
        raise CertificateError("certificate", f"{path} is no PEM certificate: {error}") from None


def _read(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = "there is no such file; paths are relative to the inventory's folder"
        raise CertificateError(option, f"{path}: {reason if isinstance(error, FileNotFoundError) else error}") from None


def _names(leaf: x509.Certificate) -> set[str]:
    from cryptography import x509  # noqa: PLC0415

    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {name.lower() for name in names.get_values_for_type(x509.DNSName)}


def _covers(names: set[str], domain: str) -> bool:
    # A wildcard stands for exactly one label (RFC 6125, 6.4.3).
    return domain in names or f"*.{domain.partition('.')[2]}" in names
