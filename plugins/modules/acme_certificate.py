#!/usr/bin/python
# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module acme_certificate."""

from __future__ import annotations

DOCUMENTATION = r"""
module: acme_certificate
short_description: Keep a certificate from an ACME CA for an app
version_added: 0.1.0
description:
  - Has the distribution's certbot get a certificate from a CA such as Let's Encrypt, through a challenge that NGINX
    answers (http-01), and gives it to NGINX as C(/etc/ssl/paddock/APP.crt) and C(APP.key).
  - The CA is asked when there is no certificate, when the domains or the CA have changed, and when the one that is
    there should have been renewed long ago. Otherwise certbot's own timer renews it.
  - Before the CA is asked, each domain must answer on port 80 with a file that only this host has.
author: paddock.fastapi contributors (@paddock)
options:
  app:
    description: Name of the app.
    type: str
    required: true
  state:
    description: With V(absent), certbot forgets the certificate. The files that NGINX reads stay.
    type: str
    choices: [present, absent]
    default: present
  domains:
    description: Host names that the certificate is for. Needed with O(state=present).
    type: list
    elements: str
    default: []
  email:
    description: Address that the CA writes to. Needed with O(state=present).
    type: str
  directory:
    description: URL of the CA's directory.
    type: str
    default: https://acme-v02.api.letsencrypt.org/directory
  ca_bundle:
    description: File on the host with the certificates that the CA's own web server is checked with.
    type: path
  eab_kid:
    description: Key identifier of an account that the CA knows already (external account binding).
    type: str
  eab_hmac_key:
    description: Key of that account.
    type: str
  profile:
    description: Profile of the CA that the certificate must have. Needs certbot 4.0.
    type: str
  precheck:
    description: Whether to see first that each domain reaches this host.
    type: bool
    default: true
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    platforms: linux
seealso:
  - module: paddock.fastapi.selfsigned_certificate
"""

EXAMPLES = r"""
- name: Keep a certificate
  paddock.fastapi.acme_certificate:
    app: shop
    domains: [shop.example.com, www.shop.example.com]
    email: ops@example.com
"""

RETURN = r"""
reason:
  description: Why the CA was asked, or NGINX given the certificate again; empty if all is as it should be.
  returned: always
  type: str
  sample: it names other hosts
"""

import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.paddock.fastapi.plugins.module_utils._acme import (
    AcmeError,
    Authority,
    Lineage,
    deploy,
    issue,
    precheck,
)

TLS_ROOT = Path("/etc/ssl/paddock")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "domains": {"type": "list", "elements": "str", "default": []},
            "email": {"type": "str"},
            "directory": {"type": "str", "default": "https://acme-v02.api.letsencrypt.org/directory"},
            "ca_bundle": {"type": "path"},
            "eab_kid": {"type": "str"},
            "eab_hmac_key": {"type": "str", "no_log": True},
            "profile": {"type": "str"},
            "precheck": {"type": "bool", "default": True},
        },
        required_if=[("state", "present", ("domains", "email"))],
        required_together=[("eab_kid", "eab_hmac_key")],
        supports_check_mode=True,
    )
    wanted = module.params
    lineage = Lineage(wanted["app"], wanted["domains"])
    authority = Authority(
        **{name: wanted[name] for name in ("directory", "email", "ca_bundle", "eab_kid", "eab_hmac_key", "profile")}
    )
    if wanted["state"] == "absent":
        gone = lineage.remove(check=module.check_mode)
        module.exit_json(changed=gone, reason="it is no longer wanted" if gone else "")
    missing = lineage.why_issue(authority)
    reason = missing or why_deploy(lineage)
    result: dict[str, t.Any] = {"changed": bool(reason), "reason": reason}
    result["diff"] = {"before": f"{reason}\n", "after": f"for {', '.join(lineage.domains)}\n"} if reason else {}
    if module.check_mode or not reason:
        module.exit_json(**result)
    try:
        if missing:
            if wanted["precheck"]:
                precheck(lineage.domains)
            issue(lineage, authority)
        # Unless certbot has done that.
        if why_deploy(lineage):
            deploy(lineage)
    except (AcmeError, OSError) as error:
        module.fail_json(
            msg=f"app {lineage.app}: there is no new certificate ({reason}): {error}\n"
            "NGINX goes on with the certificate that it has.",
            **(result | {"changed": False}),
        )
    module.exit_json(**result)


def why_deploy(lineage: Lineage) -> str:
    """Say why NGINX must be given the certificate, or nothing if it has it."""
    for name, file in (("fullchain.pem", ".crt"), ("privkey.pem", ".key")):
        path = TLS_ROOT / f"{lineage.app}{file}"
        if not path.is_file() or path.read_bytes() != (lineage.folder / name).read_bytes():
            return "NGINX has another one"
    return ""


if __name__ == "__main__":
    main()
