#!/usr/bin/python
# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module provided_certificate."""

from __future__ import annotations

DOCUMENTATION = r"""
module: provided_certificate
short_description: Install a certificate and its key
version_added: 0.1.0
description:
  - Refuses a certificate that does not belong to its key, has expired, or is not valid yet.
  - Installs both files by two renames, one right after the other, so that a run which is killed leaves a pair.
  - Where there is NGINX, it must accept its configuration with them; if it does not, both files are as they were.
author: paddock.fastapi contributors (@paddock)
options:
  certificate:
    description: File of the certificate.
    type: path
    required: true
  key:
    description: File of the key, which only root can read.
    type: path
    required: true
  certificate_content:
    description: The certificate in PEM, followed by its chain.
    type: str
    required: true
  key_content:
    description: The key in PEM, without a passphrase.
    type: str
    required: true
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
    details: Without asking NGINX.
  diff_mode:
    support: full
    details: Nothing of the key is shown.
  platform:
    platforms: linux
seealso:
  - module: paddock.fastapi.selfsigned_certificate
  - module: paddock.fastapi.acme_certificate
"""

EXAMPLES = r"""
- name: Install a certificate
  paddock.fastapi.provided_certificate:
    certificate: /etc/ssl/paddock/shop.crt
    key: /etc/ssl/paddock/shop.key
    certificate_content: "{{ lookup('ansible.builtin.file', 'shop.pem') }}"
    key_content: "{{ lookup('ansible.builtin.file', 'shop.key') }}"
"""

RETURN = r"""
reason:
  description: Why the files were written; empty if they were there.
  returned: success
  type: str
  sample: another one was provided
"""

import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.paddock.fastapi.plugins.module_utils import _nginx
from ansible_collections.paddock.fastapi.plugins.module_utils._certificate import Pair, inspect, public_of


def why_refuse(pair: Pair) -> str:
    """Say what is wrong with the pair and how to mend it, or nothing."""
    found = inspect(pair.certificate)
    if not found:
        return "the certificate is no PEM certificate; provide the one that was issued, followed by its chain"
    public = public_of(pair.key)
    if not public:
        return "the key is no PEM key without a passphrase; provide the one that the certificate was issued for"
    if public != found.public:
        return "the key is not the key of the certificate; provide the pair that was issued together"
    now = time.time()
    if found.last < now:
        return f"the certificate expired on {_day(found.last)}; renew it"
    if found.first > now:
        return f"the certificate is valid only from {_day(found.first)}; provide one that is valid now"
    return ""


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def why_install(pair: Pair, before: Pair | None) -> str:
    """Say why the pair, which is not there as it should be, is not."""
    if not before:
        return "there is none"
    return "it has another owner or mode" if before == pair else "another one was provided"


def restore(before: Pair | None, certificate: Path, key: Path) -> None:
    """Put back what was there."""
    if before:
        before.write(certificate, key)
    else:
        certificate.unlink()
        key.unlink()


def install(pair: Pair, before: Pair | None, certificate: Path, key: Path) -> str:
    """Put the pair in place, and return what NGINX has against it; then all is as it was."""
    pair.write(certificate, key)
    problem = _nginx.check() if Path(_nginx.NGINX).exists() else ""
    if not problem:
        return ""
    restore(before, certificate, key)
    if not _nginx.check():
        return problem
    # It is something else that NGINX does not accept: such as a certificate of another app, which comes next.
    pair.write(certificate, key)
    return ""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "certificate": {"type": "path", "required": True},
            "key": {"type": "path", "required": True, "no_log": False},
            "certificate_content": {"type": "str", "required": True},
            "key_content": {"type": "str", "required": True, "no_log": True},
        },
        supports_check_mode=True,
    )
    certificate, key = Path(module.params["certificate"]), Path(module.params["key"])
    pair = Pair(*(f"{module.params[name].strip()}\n" for name in ("certificate_content", "key_content")))
    try:
        if problem := why_refuse(pair):
            module.fail_json(msg=f"{certificate} stays as it is: {problem}")
        before = Pair.read(certificate, key)
        reason = "" if pair.is_in(certificate, key) else why_install(pair, before)
        if reason and not module.check_mode and (problem := install(pair, before, certificate, key)):
            module.fail_json(msg=f"{certificate} stays as it is: NGINX does not accept the one provided.\n{problem}")
    except FileNotFoundError as error:
        if error.filename == "openssl":
            module.fail_json(msg="openssl is not installed on the host; install it (role tls does)")
        module.fail_json(msg=f"the certificate cannot be written: {error}; make its folder first (role tls does)")
    except OSError as error:
        module.fail_json(msg=f"the certificate cannot be written: {error}")
    diff = {"before_header": str(certificate), "after_header": str(certificate)}
    diff |= {"before": before.certificate if before else "", "after": pair.certificate}
    module.exit_json(changed=bool(reason), reason=reason, diff=diff)


if __name__ == "__main__":
    main()
