#!/usr/bin/python
# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: certificates
short_description: Make and renew the certificates of the Observer
version_added: 0.1.0
author:
  - Sovereign Cloud Stack (@SovereignCloudStack)
description:
  - Keeps or makes certificate authorities, and keeps, makes or renews the certificates they sign.
  - The module only computes. It reads and writes no file and no cluster, what exists is given to it, and what ought to exist is returned. Other tasks
    store it, for example in Secrets with M(scs.observer.kubernetes_manifests).
  - New keys are ECDSA P-256. Certificates hold subject alternative names, key usage, extended key usage and key identifiers as RFC 5280 asks. They
    begin five minutes before now, for clocks differ, and never outlive their authority.
  - A certificate that is signed anew gets a new private key.
  - Its result holds private keys, so the task must set C(no_log=true). The module refuses to run without it.
requirements:
  - cryptography >= 42
attributes:
  check_mode:
    support: full
    description: The module does the same in check mode, for it changes nothing outside of its result.
  diff_mode:
    support: none
    description: A difference would show key material.
  idempotent:
    support: full
    description: Given what an earlier run returned, the module returns the same again, until a certificate expires soon.
options:
  authorities:
    description: The certificate authorities. Their names are unique.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name by which O(certificates[].authority) and the result refer to it.
        type: str
        required: true
      common_name:
        description:
          - Common name of an authority that is made, at most 64 characters. Not compared with one that is given.
          - By default O(authorities[].name).
        type: str
      certificate:
        description:
          - PEM text of the existing authority's certificate. When issuers follow it in the same text, from its own issuer to the root, they are a chain, and
            its intermediate certificates are put behind every certificate that is signed.
          - Empty or not given means that an authority is made.
          - It is an error when it has expired, is not an authority's, or does not fit O(authorities[].private_key).
        type: str
      private_key:
        description:
          - PEM text of the existing authority's private key, not encrypted. RSA, ECDSA and Ed25519 are understood.
          - Given together with O(authorities[].certificate) or not at all.
        type: str
      days:
        description: How long an authority that is made is valid, in days.
        type: int
        default: 3650
  certificates:
    description: The certificates. Their names are unique.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the certificate in the result.
        type: str
        required: true
      authority:
        description: Name of the authority that signs.
        type: str
        required: true
      common_name:
        description: Common name, at most 64 characters. For an agent this is the id of the KaaS cluster.
        type: str
        required: true
      common_name_format:
        description: V(rfc1123_label) refuses a common name that can not be the id of a KaaS cluster.
        type: str
        choices: [text, rfc1123_label]
        default: text
      dns_names:
        description: DNS names in the subject alternative name. A first label V(*) is allowed.
        type: list
        elements: str
        default: []
      ip_addresses:
        description: IPv4 and IPv6 addresses in the subject alternative name.
        type: list
        elements: str
        default: []
      usages:
        description: Extended key usages. A V(server) needs at least one of O(certificates[].dns_names) and O(certificates[].ip_addresses).
        type: list
        elements: str
        choices: [server, client]
        default: [server, client]
      days:
        description: How long a certificate that is signed is valid, in days. The end of the authority cuts it short, with a warning.
        type: int
        default: 90
      renew_before_days:
        description: A certificate with less than this left, in days, is signed anew. Must be less than O(certificates[].days).
        type: int
        default: 30
      certificate:
        description:
          - PEM text of the existing certificate. Empty or not given means that there is none.
          - What can not be used any more (unreadable, wrong key, other names, another authority) is no error, it is signed anew.
        type: str
      private_key:
        description: PEM text of the existing certificate's private key.
        type: str
seealso:
  - module: community.crypto.x509_certificate
"""

EXAMPLES = r"""
- name: Provide the agents' authority and the certificate of one agent
  scs.observer.certificates:
    authorities:
      - name: agents
        common_name: SCS Observer agents
        certificate: "{{ agents_ca_certificate | default('') }}"
        private_key: "{{ agents_ca_private_key | default('') }}"
    certificates:
      - name: agent
        authority: agents
        common_name: customer-a-prod
        common_name_format: rfc1123_label
        usages: [client]
        certificate: "{{ agent_certificate | default('') }}"
        private_key: "{{ agent_private_key | default('') }}"
  register: trust
  no_log: true

- name: Provide the certificate of the remote-write port
  scs.observer.certificates:
    authorities:
      - name: inside
        common_name: SCS Observer inside
    certificates:
      - name: receive
        authority: inside
        common_name: thanos-receive
        dns_names: [receive.observer.example.com]
        ip_addresses: [203.0.113.10]
        usages: [server]
        days: 365
  register: trust
  no_log: true
"""

RETURN = r"""
authorities:
  description: The authorities by their names.
  returned: success
  type: dict
  contains:
    certificate:
      description: PEM text of the certificate, as it was given if it was.
      type: str
      returned: success
    private_key:
      description: PEM text of the private key, as it was given if it was, PKCS #8 if made.
      type: str
      returned: success
    state:
      description: V(kept) or V(created).
      type: str
      returned: success
    not_after:
      description: End of validity, UTC, ISO 8601.
      type: str
      returned: success
  sample:
    agents: {certificate: "-----BEGIN CERTIFICATE-----...", private_key: "...", state: created, not_after: "2036-07-27T10:00:00Z"}
certificates:
  description: The certificates by their names.
  returned: success
  type: dict
  contains:
    certificate:
      description: PEM text of the certificate, followed by the intermediate certificates of its authority.
      type: str
      returned: success
    private_key:
      description: PEM text of the private key.
      type: str
      returned: success
    authority_certificate:
      description: PEM text of the authority's certificate, by which peers verify this one.
      type: str
      returned: success
    state:
      description: V(kept), V(created) or V(renewed).
      type: str
      returned: success
    reason:
      description: Why it was created or renewed. Empty when it was kept.
      type: str
      returned: success
    not_after:
      description: End of validity, UTC, ISO 8601.
      type: str
      returned: success
  sample:
    agent:
      certificate: "-----BEGIN CERTIFICATE-----..."
      private_key: "..."
      authority_certificate: "-----BEGIN CERTIFICATE-----..."
      state: renewed
      reason: expires soon, on 2026-08-20T10:00:00Z
      not_after: "2026-10-28T10:00:00Z"
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.observer.plugins.module_utils._certificates import (
    COMMON_NAME_FORMATS,
    USAGES,
    AuthoritySpec,
    CertificateSpec,
    provide,
)
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

PEM_OPTIONS = {
    "certificate": {"type": "str"},
    "private_key": {"type": "str", "no_log": True},
}
ARGUMENT_SPEC = {
    "authorities": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "common_name": {"type": "str"},
            **PEM_OPTIONS,
            "days": {"type": "int", "default": 3650},
        },
    },
    "certificates": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "authority": {"type": "str", "required": True},
            "common_name": {"type": "str", "required": True},
            "common_name_format": {"type": "str", "choices": list(COMMON_NAME_FORMATS), "default": "text"},
            "dns_names": {"type": "list", "elements": "str", "default": []},
            "ip_addresses": {"type": "list", "elements": "str", "default": []},
            "usages": {"type": "list", "elements": "str", "choices": list(USAGES), "default": list(USAGES)},
            "days": {"type": "int", "default": 90},
            "renew_before_days": {"type": "int", "default": 30},
            **PEM_OPTIONS,
        },
    },
}


def spec_from(kind: type, item: dict) -> object:
    given = {key: value for key, value in item.items() if value is not None}
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in given.items()})


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    if not module.no_log:
        module.fail_json(msg="The result of this task holds private keys. Set no_log: true on it.")
    try:
        result = provide(
            [spec_from(AuthoritySpec, item) for item in module.params["authorities"]],
            [spec_from(CertificateSpec, item) for item in module.params["certificates"]],
        )
    except ObserverError as error:
        module.fail_json(msg=str(error))
    for warning in result.warnings:
        module.warn(warning)
    # A key that was given is part of the result on purpose; the task's no_log, not this filter, keeps it out of the output.
    module.no_log_values.clear()
    module.exit_json(
        changed=result.changed,
        authorities=result.authorities,
        certificates=result.certificates,
        invocation={"module_args": {}},
    )


if __name__ == "__main__":
    main()
