#!/usr/bin/python
# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module selfsigned_certificate."""

from __future__ import annotations

DOCUMENTATION = r"""
module: selfsigned_certificate
short_description: Keep a self-signed certificate for some host names
version_added: 0.1.0
description:
  - Makes an ECDSA key (P-256) and a certificate for it with openssl, and makes them anew when they do not fit together,
    do not name exactly the wanted hosts, expire soon, or are signed by somebody else.
  - With O(placeholder=true) they only hold the place of what somebody else will put there, such as a CA's.
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
  domains:
    description: Host names that the certificate is for.
    type: list
    elements: str
    required: true
  days:
    description: Days that a new certificate is valid.
    type: int
    default: 365
  renew_before:
    description: Days before its end that a certificate is made anew.
    type: int
    default: 30
  placeholder:
    description: Whether to leave alone whatever pair is there, if NGINX can load it.
    type: bool
    default: false
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    platforms: linux
"""

EXAMPLES = r"""
- name: Keep a certificate
  paddock.fastapi.selfsigned_certificate:
    certificate: /etc/ssl/paddock/shop.crt
    key: /etc/ssl/paddock/shop.key
    domains: [shop.example.com]
"""

RETURN = r"""
reason:
  description: Why a certificate was made; empty if the one that was there is good.
  returned: always
  type: str
  sample: it expires within 30 days
"""

import re
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.paddock.fastapi.plugins.module_utils._certificate import Pair, inspect, openssl


def why_renew(pair: Pair, domains: list[str], seconds: int) -> str:
    """Say why the pair must be made anew, or nothing if it is good."""
    found = inspect(pair.certificate)
    if not found or (reason := pair.why_mismatch()):
        return reason if found else "it cannot be read"
    if found.names != {domain.lower() for domain in domains}:
        return "it names other hosts"
    if not found.selfsigned:
        return "somebody else has signed it"
    return f"it expires within {seconds // 86400} days" if found.seconds_left() < seconds else ""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "certificate": {"type": "path", "required": True},
            "key": {"type": "path", "required": True, "no_log": False},
            "domains": {"type": "list", "elements": "str", "required": True},
            "days": {"type": "int", "default": 365},
            "renew_before": {"type": "int", "default": 30},
            "placeholder": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        keep(module)
    except FileNotFoundError as error:
        if error.filename == "openssl":
            module.fail_json(msg="openssl is not installed on the host; install it (role tls does)")
        module.fail_json(msg=f"the certificate cannot be written: {error}; make its folder first (role tls does)")
    except OSError as error:
        module.fail_json(msg=f"the certificate cannot be written: {error}")


def keep(module: AnsibleModule) -> None:
    """Make the pair if there is a reason to, and end the module."""
    wanted = module.params
    certificate, key, domains = Path(wanted["certificate"]), Path(wanted["key"]), wanted["domains"]
    pair = Pair.read(certificate, key)
    if not pair:
        reason = "there is none"
    elif wanted["placeholder"]:
        reason = pair.why_mismatch()
    else:
        reason = why_renew(pair, domains, wanted["renew_before"] * 86400)
    diff = {
        "before_header": str(certificate),
        "after_header": str(certificate),
        "before": f"{reason}\n",
        "after": f"for {', '.join(domains)}\n",
    }
    if not reason:
        module.exit_json(changed=False, reason="")
    if module.check_mode:
        module.exit_json(changed=True, reason=reason, diff=diff)
    failed, made = openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-days", str(wanted["days"]), "-subj", f"/CN={domains[0][:64]}"),
        *("-addext", f"subjectAltName={','.join(f'DNS:{domain}' for domain in domains)}"),
        *("-addext", "keyUsage=critical,digitalSignature,keyCertSign", "-addext", "extendedKeyUsage=serverAuth"),
        *("-keyout", "-", "-out", "-"),
    )
    blocks = re.findall(r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----\n", made, re.DOTALL)
    parts = {"key" if "PRIVATE KEY" in block else "certificate": block for block in blocks}
    if failed or parts.keys() != {"key", "certificate"}:
        module.fail_json(msg=f"openssl cannot make a certificate for {', '.join(domains)}: {made.strip()[-500:]}")
    Pair(parts["certificate"], parts["key"]).write(certificate, key)
    module.exit_json(changed=True, reason=reason, diff=diff)


if __name__ == "__main__":
    main()
