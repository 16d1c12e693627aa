# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of checking a certificate and its key."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from ansible_collections.paddock.fastapi.plugins.plugin_utils._certificate import CertificateError, check_pair
from ansible_collections.paddock.fastapi.tests.unit.helpers import a_key, certificate_pem, key_pem

DOMAINS = ["shop.example.com", "www.example.com"]
KEY = a_key()
OTHER_KEY = a_key()


def write_pair(folder: Path, certificate: bytes, key: bytes) -> tuple[Path, Path]:
    pair = folder / "a.crt", folder / "a.key"
    for path, content in zip(pair, (certificate, key), strict=True):
        path.write_bytes(content)
    return pair


def refused(certificate: Path, key: Path, domains: list[str] = DOMAINS) -> tuple[str, str]:
    with pytest.raises(CertificateError) as caught:
        check_pair(certificate, key, domains)
    return caught.value.option, str(caught.value)


@pytest.mark.parametrize(
    ("names", "domains"),
    [
        (DOMAINS, DOMAINS),
        ([*DOMAINS, "x.example.com"], DOMAINS),
        (["*.example.com"], DOMAINS),
        (["*.example.com", "example.com"], ["example.com", "a.example.com"]),
        (["SHOP.example.com"], ["shop.EXAMPLE.com"]),
        (["localhost"], ["localhost"]),
    ],
)
def test_good_pairs(tmp_path: Path, names: list[str], domains: list[str]) -> None:
    check_pair(*write_pair(tmp_path, certificate_pem(KEY, names), key_pem(KEY)), domains)


def test_the_leaf_comes_before_its_chain(tmp_path: Path) -> None:
    leaf, authority = certificate_pem(KEY, DOMAINS), certificate_pem(OTHER_KEY, ["ca.example.com"])
    check_pair(*write_pair(tmp_path, leaf + authority, key_pem(KEY)), DOMAINS)
    pair = write_pair(tmp_path, authority + leaf, key_pem(KEY))
    assert refused(*pair)[0] == "key"


@pytest.mark.parametrize(
    ("names", "domains", "message"),
    [
        (["shop.example.com"], DOMAINS, "does not name www.example.com; it names shop.example.com"),
        (["b.example", "a.example"], DOMAINS, f"does not name {', '.join(DOMAINS)}; it names a.example, b.example"),
        (["*.example.com"], ["example.com"], "does not name example.com; it names *.example.com"),
        (["*.example.com"], ["a.b.example.com"], "does not name a.b.example.com; it names *.example.com"),
        ([], ["shop.example.com"], "does not name shop.example.com; it names nothing"),
    ],
)
def test_domains_that_are_not_named(tmp_path: Path, names: list[str], domains: list[str], message: str) -> None:
    pair = write_pair(tmp_path, certificate_pem(KEY, names), key_pem(KEY))
    assert refused(*pair, domains) == ("certificate", f"{pair[0]} {message}")


def test_another_key(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, certificate_pem(KEY, DOMAINS), key_pem(OTHER_KEY))
    expected = f"{pair[1]} is not the key of {pair[0]}; name the pair that was issued together"
    assert refused(*pair) == ("key", expected)


def test_expired(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, certificate_pem(KEY, DOMAINS, first=-9, last=-2), key_pem(KEY))
    day = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=2)
    assert refused(*pair) == ("certificate", f"{pair[0]} expired on {day:%Y-%m-%d}; renew it")


def test_not_valid_yet(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, certificate_pem(KEY, DOMAINS, first=2), key_pem(KEY))
    day = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=2)
    assert refused(*pair) == ("certificate", f"{pair[0]} is valid only from {day:%Y-%m-%d}")


def test_a_key_with_a_passphrase(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, certificate_pem(KEY, DOMAINS), key_pem(KEY, b"geheim"))
    option, message = refused(*pair)
    assert option == "key"
    assert message.startswith(f"{pair[1]} is no PEM key without a passphrase: ")


@pytest.mark.parametrize("content", [b"", b"text", b"\xff", certificate_pem(KEY, [])])
def test_files_that_are_no_key(tmp_path: Path, content: bytes) -> None:
    pair = write_pair(tmp_path, certificate_pem(KEY, DOMAINS), content)
    option, message = refused(*pair)
    assert option == "key"
    assert message.startswith(f"{pair[1]} is no PEM key without a passphrase: ")


@pytest.mark.parametrize("content", [b"", b"text", b"\xff", key_pem(KEY)])
def test_files_that_are_no_certificate(tmp_path: Path, content: bytes) -> None:
    pair = write_pair(tmp_path, content, key_pem(KEY))
    option, message = refused(*pair)
    assert option == "certificate"
    assert message.startswith(f"{pair[0]} is no PEM certificate: ")


@pytest.mark.parametrize("option", ["certificate", "key"])
def test_files_that_are_not_there(tmp_path: Path, option: str) -> None:
    pair = write_pair(tmp_path, certificate_pem(KEY, DOMAINS), key_pem(KEY))
    path = pair[["certificate", "key"].index(option)]
    path.unlink()
    expected = f"{path}: there is no such file; paths are relative to the inventory's folder"
    assert refused(*pair) == (option, expected)
    path.mkdir()
    assert refused(*pair) == (option, f"{path}: [Errno 21] Is a directory: '{path}'")
