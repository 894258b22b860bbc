#!/usr/bin/python
# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_cluster
version_added: 0.1.0
short_description: Make a one-node Kubernetes on this machine from built programs
description:
  - Starts etcd, kube-apiserver, kube-controller-manager, kube-scheduler, containerd, kubelet and kube-proxy in namespaces of their own
    on the bridge C(lab0) (10.200.0.0/24) and waits until the node is Ready. It is a lab, not a way to run anything that matters.
  - A cluster whose processes have ended, or that was only half made, or whose programs have changed, is removed and made anew.
  - Images that are added to O(images) or O(archives) are imported into the running cluster; a link or route that somebody took away is made again.
  - O(state=absent) also removes what killed labs have left, such as cgroups, links and routes that no cluster owns any more, and the bridge when it is unused.
  - While labs run, C(fs.inotify.max_user_instances) of this machine is raised to 4096; it is set back with the last one.
author:
  - Sovereign Cloud Stack (@SovereignCloudStack)
attributes:
  check_mode:
    support: full
    description: In check mode nothing is made or removed; RV(ignore:changed) says whether it would be.
  diff_mode:
    support: none
    description: The message says what is made or removed.
options:
  name:
    description: Name of the cluster and of its node; up to 31 lower case letters, digits and C(-).
    type: str
    required: true
  state:
    description: Whether the cluster is there. V(absent) removes its processes, mounts, cgroups, addresses and files.
    type: str
    choices: [present, absent]
    default: present
  root:
    description: Folder that holds one folder a lab machine. A short path, for it holds Unix sockets.
    type: path
    default: /var/lib/scs-observer-lab
  index:
    description:
      - Number from 1 to 89 that decides the addresses. The node is 10.200.0.(10 + index),
        its Services are in 10.(100 + index).0.0/16, its pods in 172.20.(index).0/24.
      - The lowest free one by default.
    type: int
  source:
    description: Folder that holds one folder a program, each with its C(go.mod) and C(go.sum). Required for O(state=present).
    type: path
  cache:
    description:
      - Folder in which M(scs.observer.lab_program) left Kubernetes' programs and M(scs.observer.lab_image) the images. Required for O(state=present).
    type: path
  images:
    description: Names of images, made by M(scs.observer.lab_image), to import. V(pause) and V(coredns) come with the cluster.
    type: list
    elements: str
    default: []
  archives:
    description: More image archives to import, as C(docker save) writes them.
    type: list
    elements: path
    default: []
  timeout:
    description: Seconds until the node has to be Ready.
    type: int
    default: 120
requirements:
  - root
  - etcd, containerd, runc, the CNI plugins in /usr/lib/cni, iptables, iproute2 and util-linux, as Debian 12 has them
  - supervisor (Python)
"""

EXAMPLES = r"""
- name: A cluster to try things on
  scs.observer.lab_cluster:
    name: playground
    source: "{{ role_path }}/files/programs"
    cache: ~/.cache/scs-observer
    images:
      - prometheus

- name: Remove it
  scs.observer.lab_cluster:
    name: playground
    state: absent
"""

RETURN = r"""
cluster:
  description: What is needed to use the cluster; empty when it is absent or would only be made.
  type: dict
  returned: always
  contains:
    name: {description: Its name., type: str, returned: success}
    kubeconfig: {description: Path of the administrator's kubeconfig., type: str, returned: success}
    address: {description: Address of its node., type: str, returned: success}
    api_url: {description: URL of its API server., type: str, returned: success}
    service_network: {description: "Network of its Services, routed from this machine.", type: str, returned: success}
    pod_network: {description: "Network of its pods, routed from this machine.", type: str, returned: success}
    dns_address: {description: Address that pods ask for names., type: str, returned: success}
    audit_log: {description: Path of its audit log., type: str, returned: success}
    pid: {description: Its first process., type: int, returned: success}
seconds:
  description: Seconds from the start until each step was done; empty where nothing was made.
  type: dict
  returned: always
  sample: {machine_started: 0.3, api_ready: 4.1, node_ready: 7.5, images_imported: 9.0}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._lab_cluster import Spec, ensure_absent, ensure_present


def main() -> None:
    argument_spec = {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "root": {"type": "path", "default": "/var/lib/scs-observer-lab"},
        "index": {"type": "int"},
        "source": {"type": "path"},
        "cache": {"type": "path"},
        "images": {"type": "list", "elements": "str", "default": []},
        "archives": {"type": "list", "elements": "path", "default": []},
        "timeout": {"type": "int", "default": 120},
    }
    module = AnsibleModule(argument_spec, supports_check_mode=True, required_if=[("state", "present", ["source", "cache"])])
    options = module.params
    try:
        if options["state"] == "absent":
            result = ensure_absent(Path(options["root"]), options["name"], module.check_mode)
        else:
            spec = Spec.of(options["name"], Path(options["source"]), Path(options["cache"]), options["images"], [Path(path) for path in options["archives"]])
            result = ensure_present(Path(options["root"]), spec, options["index"], options["timeout"], module.check_mode)
    except ObserverError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
