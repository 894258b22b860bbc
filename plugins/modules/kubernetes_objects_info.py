#!/usr/bin/python
# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_objects_info
short_description: Read objects of several kinds from a Kubernetes cluster at once
version_added: 0.1.0
author:
  - Sovereign Cloud Stack (@SovereignCloudStack)
description:
  - Answers many questions of M(kubernetes.core.k8s_info) in one task, which starts one program instead of many. The roles of this collection use it.
  - One request for each entry of O(objects), and one more for each 500 objects and for each API group that is not Kubernetes' own.
  - Written for the Kubernetes API C(v1).
extends_documentation_fragment:
  - scs.observer.kubernetes
attributes:
  check_mode:
    support: full
    description: The module only reads, so it does the same in check mode.
  diff_mode:
    support: none
    description: Nothing is changed.
  idempotent:
    support: full
    description: Nothing is changed.
options:
  objects:
    description: What is asked for.
    type: list
    elements: dict
    required: true
    suboptions:
      api_version:
        description: Group and version.
        type: str
        default: v1
      kind:
        description: Kind, such as V(Secret).
        type: str
        required: true
      namespace:
        description: Namespace. By default all, or none for a kind that has none.
        type: str
      name:
        description: Name of the one object. By default all objects are returned.
        type: str
      label_selectors:
        description: Only objects to which all of these apply.
        type: list
        elements: str
requirements:
  - kubernetes >= 24.2.0
notes:
  - Secrets are returned as they are, so set C(no_log) for them.
seealso:
  - module: kubernetes.core.k8s_info
  - module: scs.observer.kubernetes_manifests
"""

EXAMPLES = r"""
- name: Read the nodes, and what runs of ingress-nginx
  scs.observer.kubernetes_objects_info:
    kubeconfig: /etc/observer/customer-a-prod.kubeconfig
    objects:
      - kind: Node
      - kind: Pod
        label_selectors: [app.kubernetes.io/name=ingress-nginx]
  register: found

- name: Say how many there are
  ansible.builtin.debug:
    msg: "{{ found.answers[0].resources | length }} nodes, {{ found.answers[1].resources | length }} pods"
"""

RETURN = r"""
answers:
  description: An entry for each of O(objects), in their order.
  returned: success
  type: list
  elements: dict
  contains:
    resources:
      description: The objects that are there, as the API server gives them. Empty when there is none.
      type: list
      elements: dict
      returned: always
  sample: [{"resources": [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}}]}]
requests:
  description: How many requests were sent to the API server.
  returned: always
  type: int
  sample: 2
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.observer.plugins.module_utils import _objects
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._kubernetes import ARGUMENT_SPEC, from_module

OBJECT = {
    "api_version": {"type": "str", "default": "v1"},
    "kind": {"type": "str", "required": True},
    "namespace": {"type": "str"},
    "name": {"type": "str"},
    "label_selectors": {"type": "list", "elements": "str"},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={**ARGUMENT_SPEC, "objects": {"type": "list", "elements": "dict", "required": True, "options": OBJECT}},
        supports_check_mode=True,
    )
    client = None
    try:
        _objects.check(module.params["objects"])
        client = from_module(module)
        found = _objects.read(client, module.params["objects"])
    except ObserverError as error:
        module.fail_json(msg=str(error), requests=client.requests if client else 0)
    # not "results", which Ansible takes for those of a loop and shows in spite of no_log
    module.exit_json(changed=False, answers=[{"resources": resources} for resources in found], requests=client.requests)


if __name__ == "__main__":
    main()
