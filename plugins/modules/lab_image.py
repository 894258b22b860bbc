#!/usr/bin/python
# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_image
version_added: 0.1.0
short_description: Make a container image of a program of the lab
description:
  - Makes an image archive, under the name and tag that production pulls, from a program that M(scs.observer.lab_program) built, or with Debian's Python.
  - It needs no container registry and no Docker. An archive that was made of the same input is kept.
author:
  - Sovereign Cloud Stack (@SovereignCloudStack)
attributes:
  check_mode:
    support: full
    description: In check mode nothing is made; RV(path) says where the archive would be.
  diff_mode:
    support: none
    description: Archives have no readable difference.
options:
  name:
    description: Name of the image in the collection's table of images, such as V(thanos), V(kube_state_metrics) or V(python).
    type: str
    required: true
  source:
    description: Folder that holds one folder a program, each with its C(go.mod) and C(go.sum).
    type: path
    required: true
  cache:
    description: Folder in which M(scs.observer.lab_program) left the binaries and in which the archive is kept.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Make the image of Thanos
  scs.observer.lab_image:
    name: thanos
    source: "{{ role_path }}/files/programs"
    cache: ~/.cache/scs-observer
"""

RETURN = r"""
path:
  description: The archive, in the form that C(docker save) writes.
  type: str
  returned: always
  sample: /home/me/.cache/scs-observer/images/thanos-0123456789abcdef.tar
reference:
  description: Name and tag of the image.
  type: str
  returned: always
  sample: quay.io/thanos/thanos:v0.42.4
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._lab_programs import find_archive


def main() -> None:
    argument_spec = {
        "name": {"type": "str", "required": True},
        "source": {"type": "path", "required": True},
        "cache": {"type": "path", "required": True},
    }
    module = AnsibleModule(argument_spec, supports_check_mode=True)
    try:
        archive = find_archive(module.params["name"], Path(module.params["source"]), Path(module.params["cache"]))
        changed = not archive.done
        if changed and not module.check_mode:
            archive.make()
    except ObserverError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed, path=str(archive.path), reference=archive.reference)


if __name__ == "__main__":
    main()
