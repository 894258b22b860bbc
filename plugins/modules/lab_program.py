#!/usr/bin/python
# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_program
version_added: 0.1.0
short_description: Build a program of the lab from its Go module
description:
  - Builds a program, such as Kubernetes, Thanos or Prometheus, from a folder with C(go.mod) and C(go.sum), statically and with verification of every checksum.
  - The result is kept by the content of that folder. What was built before is not built again.
  - Used by the role P(scs.observer.lab_cluster#role), for machines that reach no container registry.
author:
  - Sovereign Cloud Stack (@SovereignCloudStack)
attributes:
  check_mode:
    support: full
    description: In check mode nothing is built; RV(path) says where the binaries would be.
  diff_mode:
    support: none
    description: Binaries have no readable difference.
options:
  name:
    description:
      - The program, which is the name of a folder below O(source).
      - One of V(alertmanager), V(blackbox_exporter), V(coredns), V(kube_state_metrics), V(kubernetes), V(node_exporter), V(pause),
        V(prometheus), V(thanos) and V(versitygw).
    type: str
    required: true
  source:
    description: Folder that holds one folder a program, each with its C(go.mod) and C(go.sum).
    type: path
    required: true
  cache:
    description:
      - Folder for binaries, Go's modules and Go's build cache. It grows to about 15 GB when all programs are built.
    type: path
    required: true
  fetch_ahead:
    description:
      - Programs that are built after this one. While it is built, their modules are fetched, so that the network and the processors work at once.
    type: list
    elements: str
    default: []
requirements:
  - Go 1.26
"""

EXAMPLES = r"""
- name: Build Thanos
  scs.observer.lab_program:
    name: thanos
    source: "{{ role_path }}/files/programs"
    cache: ~/.cache/scs-observer
"""

RETURN = r"""
path:
  description: Folder with the built binaries.
  type: str
  returned: always
  sample: /home/me/.cache/scs-observer/programs/thanos-0123456789abcdef
seconds:
  description: How long the build took; 0 where nothing was to be built.
  type: float
  returned: always
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._lab_programs import fetching, find_build


def main() -> None:
    argument_spec = {
        "name": {"type": "str", "required": True},
        "source": {"type": "path", "required": True},
        "cache": {"type": "path", "required": True},
        "fetch_ahead": {"type": "list", "elements": "str", "default": []},
    }
    module = AnsibleModule(argument_spec, supports_check_mode=True)
    try:
        source, cache = Path(module.params["source"]), Path(module.params["cache"])
        build, *later = [find_build(name, source / name, cache) for name in (module.params["name"], *module.params["fetch_ahead"])]
        changed = not build.done
        seconds = 0.0
        if changed and not module.check_mode:
            with fetching(later):
                seconds = build.run()
    except ObserverError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed, path=str(build.output), seconds=round(seconds, 1))


if __name__ == "__main__":
    main()
