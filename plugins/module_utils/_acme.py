# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A certificate from an ACME CA, through the distribution's certbot. Standard library only.

certbot keeps what it is told in /etc/letsencrypt/renewal/NAME.conf and renews by its own timer; this decides when it
must be told something new, and what to say when it fails.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.paddock.fastapi.plugins.module_utils._certificate import inspect
from ansible_collections.paddock.fastapi.plugins.module_utils._command import run

LETSENCRYPT = Path("/etc/letsencrypt")
HOOK = LETSENCRYPT / "renewal-hooks/deploy/paddock"
WEBROOT = Path("/var/lib/paddock/acme")
CHALLENGES = ".well-known/acme-challenge"
HTTP_PORT = 80  # RFC 8555, 8.3: http-01 asks there, and nowhere else
PRECHECK_SECONDS = 10.0


class AcmeError(RuntimeError):
    """There is no certificate; the message says why and how to mend it."""


@dataclass(frozen=True)
class Authority:
    """A CA: its directory, and what it wants to know of who asks."""

    directory: str
    email: str
    ca_bundle: str | None = None
    eab_kid: str | None = None
    eab_hmac_key: str | None = None
    profile: str | None = None


@dataclass(frozen=True)
class Lineage:
    """One certificate with all its renewals, as certbot calls it."""

    app: str
    domains: Sequence[str]

    @property
    def name(self) -> str:
        """What certbot calls it: the deploy hook takes the app's name from that."""
        return f"paddock-{self.app}"

    @property
    def folder(self) -> Path:
        """Folder of the newest certificate and key."""
        return LETSENCRYPT / "live" / self.name

    @property
    def renewal(self) -> Path:
        """File with what certbot was told."""
        return LETSENCRYPT / "renewal" / f"{self.name}.conf"

    @property
    def certificate(self) -> Path:
        """File of the newest certificate and its chain."""
        return self.folder / "fullchain.pem"

    def exists(self) -> bool:
        """Tell whether certbot has it."""
        return self.renewal.is_file() and self.certificate.is_file()

    def remove(self, *, check: bool = False) -> bool:
        """Have certbot no longer know it, and return whether it did, or would. NGINX has files of its own.

        `certbot delete` does the same, but fails where a part is missing.
        """
        parts = [self.renewal, self.folder, LETSENCRYPT / "archive" / self.name]
        there = [part for part in parts if part.exists()]
        for part in [] if check else there:
            shutil.rmtree(part) if part.is_dir() else part.unlink()
        return bool(there)

    def told(self, option: str) -> str:
        """Return what certbot was told for it."""
        found = re.search(rf"^{option} = (.*)$", self.renewal.read_text(encoding="utf-8"), re.MULTILINE)
        return found.group(1).strip() if found else ""

    def renew_before(self) -> int:
        """Return how many seconds before its end certbot renews it; the deploy hook has told it so."""
        found = re.fullmatch(r"(\d+) seconds", self.told("renew_before_expiry"))
        return int(found.group(1)) if found else 0

    def why_issue(self, authority: Authority) -> str:
        """Say why the CA must be asked, or nothing if certbot's timer has it all in hand."""
        if not self.exists():
            return "there is none"
        found = inspect(self.certificate.read_text(encoding="ascii", errors="replace"))
        if not found:
            return "it cannot be read"
        if found.names != {domain.lower() for domain in self.domains}:
            return "it names other hosts"
        if self.told("server") != authority.directory:
            return f"it is from {self.told('server')}"
        # The timer comes twice a day, so this late it must have failed for long.
        if found.seconds_left() < self.renew_before() / 2:
            return f"it expires in {max(0, found.seconds_left()) // 3600:.0f} hours, and was not renewed"
        return ""


@contextlib.contextmanager
def _proof() -> Iterator[tuple[str, str]]:
    """Publish a file that only this host can have, as a path and its content."""
    folder = WEBROOT / CHALLENGES
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    name, content = f"paddock-{secrets.token_urlsafe(16)}", secrets.token_urlsafe(32)
    path = folder / name
    path.write_text(content, encoding="ascii")
    path.chmod(0o644)
    try:
        yield f"/{CHALLENGES}/{name}", content
    finally:
        path.unlink()


def precheck(domains: Sequence[str]) -> None:
    """Ask for a file through each domain, as the CA will. Raises AcmeError for the first that does not reach this host.

    A CA allows few failures per hour, so a mistyped name or a closed port should not cost any.
    """
    with _proof() as (path, content):
        for domain in domains:
            try:
                found = socket.getaddrinfo(domain, HTTP_PORT, type=socket.SOCK_STREAM)
            except OSError as error:
                raise AcmeError(
                    f"{domain} does not resolve ({error.args[-1]}); make its DNS record, or remove it from domains"
                ) from error
            for address in sorted({str(entry[4][0]) for entry in found}):
                if problem := _fetch(domain, address, path, content):
                    raise AcmeError(
                        f"{domain} does not reach this host: {address}, port {HTTP_PORT}, {problem}; correct its DNS "
                        "records, or open the port (a host that cannot reach its own public address needs "
                        "tls_acme_precheck: false)"
                    )


def _fetch(domain: str, address: str, path: str, content: str) -> str:
    """Say what is wrong with what an address answers, or nothing."""
    connection = http.client.HTTPConnection(address, HTTP_PORT, timeout=PRECHECK_SECONDS)
    try:
        connection.request("GET", path, headers={"Host": domain, "Connection": "close"})
        answer = connection.getresponse()
        body = answer.read(4096)
    except (OSError, http.client.HTTPException) as error:
        return f"does not answer ({error})"
    finally:
        connection.close()
    if answer.status != http.client.OK:
        return f"answers {answer.status}"
    return "" if body == content.encode() else "answers something else"


def issue(lineage: Lineage, authority: Authority) -> None:
    """Have certbot ask the CA. Raises AcmeError."""
    arguments = ["certonly", "--non-interactive", "--agree-tos", "--email", authority.email, "--no-eff-email"]
    arguments += ["--server", authority.directory, "--cert-name", lineage.name, "--key-type", "ecdsa"]
    arguments += ["--webroot", "--webroot-path", str(WEBROOT), "--renew-with-new-domains", "--force-renewal"]
    arguments += ["--domains", ",".join(lineage.domains)]
    if authority.profile:
        arguments += ["--required-profile", authority.profile]
    if not lineage.exists():
        # certbot does not begin where half of one is left.
        lineage.remove()
    with _configuration(authority) as file:
        certbot([*arguments, "--config", file], authority)


@contextlib.contextmanager
def _configuration(authority: Authority) -> Iterator[str]:
    """Write what must not be seen in a list of processes to a file that only root can read."""
    with tempfile.NamedTemporaryFile("w", prefix="paddock-", suffix=".ini", encoding="utf-8") as file:
        if authority.eab_kid and authority.eab_hmac_key:
            file.write(f"eab-kid = {authority.eab_kid}\neab-hmac-key = {authority.eab_hmac_key}\n")
            file.flush()
        yield file.name


def certbot(arguments: Sequence[str], authority: Authority) -> None:
    """Run certbot. Raises AcmeError with what it has to say."""
    more = {"REQUESTS_CA_BUNDLE": authority.ca_bundle} if authority.ca_bundle else {}
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **more}
    done = run(["certbot", *arguments], env=environment)
    if done.returncode:
        raise AcmeError(_reason(done.stdout + done.stderr))


def _reason(output: str) -> str:
    """Leave out of certbot's messages what is the same in all of them."""
    noise = (
        r"$|Saving debug log|Account registered|Requesting a certificate|Ask for help|Some challenges|Plugins selected"
    )
    lines = [line.strip() for line in output.splitlines() if not re.match(noise, line.strip())]
    return "\n".join(lines[-15:]) or "certbot says nothing; see /var/log/letsencrypt/letsencrypt.log"


def deploy(lineage: Lineage) -> None:
    """Give NGINX the newest certificate, by the hook that certbot runs when it renews. Raises AcmeError.

    Before 5.3, certbot does not run it for the first certificate.
    """
    environment = {**os.environ, "RENEWED_LINEAGE": str(lineage.folder), "RENEWED_DOMAINS": " ".join(lineage.domains)}
    done = run([str(HOOK)], env=environment)
    if done.returncode:
        raise AcmeError((done.stderr or done.stdout).strip() or f"{HOOK} ended with {done.returncode}")
