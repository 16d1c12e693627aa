# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What known messages of Python, uv, Gunicorn and systemd mean for the person who reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable

# The first that matches is shown, so the more telling ones stand first.
HINTS: tuple[tuple[str, str], ...] = (
    (
        r"No module named '?([\w.]+)'?",
        "{0} is not installed in the release: is it in the requirements, and is app_dir right?",
    ),
    (r"Failed to find attribute '([\w.()]+)' in '([\w.]+)'", "{1} has no {0}: correct the app's option module"),
    (r'Attribute "([\w.]+)" not found in module "([\w.]+)"', "{1} has no {0}: correct the app's option module"),
    (
        r"Application object must be callable|asgi2\.py(?s:.)*is not callable",
        "the attribute in option module is no ASGI app; a factory needs factory: true",
    ),
    (
        r"__call__\(\) (takes|missing).*positional argument",
        "this looks like a WSGI app (Flask, Django's wsgi.py); option module must name an ASGI app",
    ),
    (
        r"KeyError: 'CREDENTIALS_DIRECTORY'|No such file or directory: '/run/credentials/[^']+'",
        "the app wants a credential that it does not have: set it in the app's option credentials",
    ),
    (r"KeyError: '([A-Z][A-Z0-9_]+)'", "the app wants the environment variable {0}: set it in the app's option env"),
    (
        r"unable to open database file",
        "SQLite cannot open its file: only $PADDOCK_SHARED (/srv/APP/shared) is writable",
    ),
    (
        r"Read-only file system: '([^']+)'",
        (
            "{0} is not writable for the app: write below $PADDOCK_SHARED (/srv/APP/shared), "
            "or name another folder in sandbox.write_paths"
        ),
    ),
    (
        r"mount namespacing: (?:/run/systemd/(?:unit-root|mount-rootfs))?(/\S+): No such file or directory",
        "there is no folder {0} on the host: make it, or take it out of sandbox.write_paths",
    ),
    (
        r"Failed to determine supplementary groups",
        "a group of sandbox.supplementary_groups is not there: make it, or install what brings it",
    ),
    (
        r"write\+execute memory|Unable to allocate section memory",
        "the app makes code at run time: set sandbox.memory_deny_write_execute to false",
    ),
    (
        r"Address family not supported by protocol",
        "the app wants a socket of an unusual kind: set sandbox.restrict_address_families to false",
    ),
    (r"Address already in use", "another process has this address; an app must not bind a port of its own"),
    (r"No space left on device", "the disk is full: free space, or lower keep_releases"),
    (
        r"Hash mismatch",
        (
            "a downloaded file is not the one that was pinned: "
            "refresh the hashes in the requirements, or ask who changed the package"
        ),
    ),
    (
        r"In `--require-hashes` mode|--require-hashes",
        "every requirement needs == and a hash: make the file with 'uv pip compile --generate-hashes'",
    ),
    (r"lockfile.*needs to be updated", "uv.lock does not fit pyproject.toml: run 'uv lock' and commit it"),
    (
        r"requires-python|Requires-Python|does not satisfy Python",
        "the interpreter does not fit: set the app's option python to one that does",
    ),
    (
        r"invalid peer certificate|UnknownIssuer",
        "the index's certificate is not trusted: install its CA in the host's certificate store",
    ),
    (
        r"dns error|Could not connect, are you offline|error sending request|tunnel error|Failed to fetch",
        "the package index is not reachable from the host: check its network, proxy and index_url",
    ),
    (
        r"No solution found|was not found in the package registry|there is no version of",
        "a requirement cannot be met: correct it, or the index_url",
    ),
    (
        (
            r"[Cc]onnection refused|Connect call failed|could not translate host name"
            r"|Name or service not known|Temporary failure in name resolution|[Cc]onnection timed out"
        ),
        "something that the app needs (its database, for one) does not answer: check its address, and that it runs",
    ),
    (
        r"Booting worker with pid: \d+\s*\Z",
        "importing the app takes too long: it waits for something, or needs a longer health.timeout",
    ),
    (
        r"Waiting for application startup\.\s*\Z",
        "the app's lifespan takes too long: it waits for something, or needs a longer health.timeout",
    ),
    (r"Worker failed to boot|App failed to load", "the app fails while it starts: see the lines above"),
)


def hint(lines: Iterable[str]) -> str:
    """Return the hint for a known cause in what was logged, or an empty text."""
    text = "\n".join(lines)
    for pattern, advice in HINTS:
        if match := re.search(pattern, text):
            return advice.format(*match.groups())
    return ""


def telling(lines: Iterable[str], most: int = 25) -> list[str]:
    """Choose the last lines that say why a server ended: Gunicorn's master adds a longer traceback of its own."""
    shown = [line for line in lines if line.strip()]
    ends = [number for number, line in enumerate(shown) if "Worker exiting" in line]
    return shown[: ends[-1]][-most:] if ends else shown[-most:]


def report(reason: str, lines: Iterable[str], title: str) -> str:
    """Write a failure as it should be read: the reason, the hint, then the lines that show it."""
    shown = [line.rstrip() for line in lines if line.strip()]
    advice = hint(shown)
    parts = [reason]
    if advice:
        parts.append(f"Hint: {advice}{'' if advice.endswith('?') else '.'}")
    if shown:
        parts.append(f"{title}:\n" + "\n".join(f"  {line}" for line in shown))
    return "\n".join(parts)
