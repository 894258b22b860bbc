#!/usr/bin/python
# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_s3
version_added: 0.1.0
short_description: Run an S3 server for the lab on this machine
description:
  - Runs versitygw, a real S3 server over a folder, with TLS, as a machine of its own at 10.200.0.10 on the bridge C(lab0).
  - Its keys are made once and kept with its data.
author:
  - Sovereign Cloud Stack (@SovereignCloudStack)
attributes:
  check_mode:
    support: full
    description: In check mode nothing is started or removed; RV(ignore:changed) says whether it would be.
  diff_mode:
    support: none
    description: There is nothing to compare but whether it runs.
options:
  state:
    description: Whether the server runs. V(absent) removes its data too.
    type: str
    choices: [present, absent]
    default: present
  root:
    description: Folder that holds one folder a lab machine.
    type: path
    default: /var/lib/scs-observer-lab
  source:
    description: Folder that holds one folder a program, each with its C(go.mod) and C(go.sum). Required for O(state=present).
    type: path
  cache:
    description: Folder in which M(scs.observer.lab_program) left the program versitygw. Required for O(state=present).
    type: path
requirements:
  - root
  - supervisor (Python)
"""

EXAMPLES = r"""
- name: An S3 server
  scs.observer.lab_s3:
    source: "{{ role_path }}/files/programs"
    cache: ~/.cache/scs-observer
  register: lab_s3
"""

RETURN = r"""
endpoint:
  description: URL of the server.
  type: str
  returned: when it runs
  sample: https://10.200.0.10:7070
ca_certificate:
  description: PEM of the certificate authority that signed its certificate.
  type: str
  returned: when it runs
credentials:
  description: File, readable by root only, that holds C(access_key) and C(secret_key) as JSON.
  type: str
  returned: when it runs
data:
  description: Folder with the objects.
  type: str
  returned: when it runs
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._lab_s3 import ensure_absent, ensure_present


def main() -> None:
    argument_spec = {
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "root": {"type": "path", "default": "/var/lib/scs-observer-lab"},
        "source": {"type": "path"},
        "cache": {"type": "path"},
    }
    module = AnsibleModule(argument_spec, supports_check_mode=True, required_if=[("state", "present", ["source", "cache"])])
    root = Path(module.params["root"])
    try:
        if module.params["state"] == "absent":
            result = ensure_absent(root, module.check_mode)
        else:
            result = ensure_present(root, Path(module.params["source"]), Path(module.params["cache"]), module.check_mode)
    except ObserverError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
