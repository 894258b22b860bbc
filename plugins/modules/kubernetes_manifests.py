#!/usr/bin/python
# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_manifests
short_description: Bring a set of Kubernetes objects to the wanted state
version_added: 0.1.0
author:
  - Sovereign Cloud Stack (@SovereignCloudStack)
description:
  - Plans many Kubernetes objects at once by the API server's own dry run, shows a diff of each object, applies them server-side,
    removes what has left the set, and waits until everything is ready.
  - Everything that the dry run finds (field conflicts, unknown kinds, objects refused by validation or admission) is reported together,
    object by object, before anything is written. Objects whose namespace or kind is made by the same set can only be tried after that
    namespace or CustomResourceDefinition has been written, and are tried then, before all the rest.
  - An object is RV(unchanged) when the dry run gives what is there already, defaulted fields included, and the ownership of fields stays too.
  - Needs Kubernetes 1.27 or newer, for the strict validation of fields.
extends_documentation_fragment:
  - scs.observer.kubernetes
options:
  manifests:
    description:
      - The objects; each entry is a mapping, a list of mappings, or a YAML or JSON text with one or more documents. Empty documents are skipped,
        lists of kind C(List) are unfolded.
      - "A text that begins with a comment C(# Source: name) is called by that name in messages."
      - C(stringData) of Secrets is sent as C(data), so that keys that are removed here are removed there too.
      - The values are never logged or shown. In the diff of a Secret each value is replaced by a marker that is equal for equal values
        within this one run, and tells nothing else.
    type: list
    elements: raw
    default: []
  src:
    description:
      - Files, and folders of files, with such texts. Of a folder, what lies directly in it and ends in C(.yml), C(.yaml) or C(.json) is taken, by name.
      - Looked for on the controller, as M(ansible.builtin.copy) does, in C(files/) of a role too; files encrypted with Ansible Vault are decrypted.
    type: list
    elements: str
    default: []
  remote_src:
    description:
      - Whether the files of O(src) lie on the host that runs the module instead.
    type: bool
    default: false
  namespace:
    description:
      - Namespace of those objects that name none. Without it, they are an error.
      - When O(state=absent) removes a whole set and the whole cluster may not be searched, this namespace is.
    type: str
  set:
    description:
      - Name of the set that these objects form. Every object gets the label C(scs.observer/set) with this value.
      - An object that belongs to another set is refused, unless O(force_conflicts=true).
    type: str
  prune:
    description:
      - Whether objects of the O(set) that are not among the manifests are removed. Needs O(set).
      - Of the kinds that Kubernetes brings along all are searched, of others only those among the manifests. Objects with an owner are left to it.
      - No manifests at all are refused, for O(state=absent) says that more clearly.
    type: bool
    default: false
  state:
    description:
      - V(present) creates and updates the objects.
      - V(absent) removes the objects given or, when none is given, the whole O(set); custom objects and workloads first, then what they use, then
        CustomResourceDefinitions, namespaces last. With O(set), given objects that do not belong to it stay.
      - A set without manifests is searched among the kinds that Kubernetes brings along. Objects of other kinds must be given.
    type: str
    choices: [present, absent]
    default: present
  keep:
    description:
      - Kinds of which nothing is removed by O(prune) or O(state=absent), such as V(PersistentVolumeClaim).
      - A namespace stays too while it holds an object of these kinds, whether that belongs to the set or not.
      - A single object is kept by its annotation C(scs.observer/keep) with value C(true).
    type: list
    elements: str
    default: []
  wait:
    description:
      - Whether to wait until Deployments, StatefulSets and DaemonSets are rolled out, Jobs are complete, Pods ready, APIServices available and
        CustomResourceDefinitions established, and until what was removed is gone.
      - PersistentVolumeClaims and Services are not waited for.
    type: bool
    default: true
  wait_timeout:
    description:
      - Seconds for the whole task to wait. When they are over, the message names each object that is not ready, and why, as its pods and
        events tell.
    type: int
    default: 300
  force_conflicts:
    description:
      - Whether to take over fields that another manager (such as C(kubectl), Helm or M(kubernetes.core.k8s)) has set to another value, and objects
        of another set.
      - Without it, each conflict is an error that names the field and its manager.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Can run in C(check_mode) and return what would be changed, also in missing namespaces. Sends dry runs, and writes nothing.
  diff_mode:
    support: full
    description: Shows each object that is created, updated or deleted. Values of Secrets are masked.
  idempotent:
    support: full
    description: When run twice in a row outside check mode with the same arguments, the second run changes nothing.
requirements:
  - python >= 3.11
  - kubernetes >= 24.2.0
  - PyYAML >= 5.1
notes:
  - The field manager is C(scs.observer).
  - An unchanged set of 60 objects takes 60 dry runs and one list for each kind and namespace, all over eight kept-alive connections.
  - The user of the kubeconfig needs the rights get, list, create and patch on the kinds of the manifests; for removals delete too.
seealso:
  - module: kubernetes.core.k8s
"""

EXAMPLES = r"""
- name: Apply what templates give, and remove what has left them
  scs.observer.kubernetes_manifests:
    kubeconfig: ~/.kube/observer
    set: observer
    namespace: observer
    prune: true
    keep: [PersistentVolumeClaim]
    manifests:
      - apiVersion: v1
        kind: Namespace
        metadata:
          name: observer
          labels:
            pod-security.kubernetes.io/enforce: restricted
      - "{{ lookup('ansible.builtin.template', 'thanos-query.yml.j2') }}"
      - "{{ lookup('ansible.builtin.template', 'alertmanager.yml.j2') }}"

- name: Apply a folder of files, and let another tool's fields be ours
  scs.observer.kubernetes_manifests:
    context: observer
    src:
      - manifests/
    namespace: observer
    force_conflicts: true
    wait_timeout: 600

- name: Remove the whole set, but no data
  scs.observer.kubernetes_manifests:
    context: observer
    set: observer
    state: absent
    keep:
      - PersistentVolumeClaim
"""

RETURN = r"""
created:
  description: Objects that did not exist, each as C(Kind namespace/name) or, cluster-scoped, C(Kind name).
  returned: always
  type: list
  elements: str
  sample: ["Namespace observer", "Deployment observer/thanos-query"]
updated:
  description: Objects that were changed.
  returned: always
  type: list
  elements: str
  sample: ["ConfigMap observer/thanos-ruler"]
deleted:
  description: Objects that were removed.
  returned: always
  type: list
  elements: str
  sample: []
unchanged:
  description: Objects that were as wanted already.
  returned: always
  type: list
  elements: str
  sample: ["Service observer/thanos-query"]
kept:
  description: Objects that would have been removed, were it not for O(keep), the annotation C(scs.observer/keep) or another set.
  returned: always
  type: list
  elements: str
  sample: ["PersistentVolumeClaim observer/data-thanos-receive-0"]
requests:
  description: Number of requests to the API server.
  returned: always
  type: int
  sample: 71
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.observer.plugins.module_utils import _manifests, _manifests_sync
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._kubernetes import ARGUMENT_SPEC, from_module


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ARGUMENT_SPEC,
            # no_log hides whole entries, which the action plugin has made one text each: parts of them, such as names, stay readable elsewhere
            "manifests": {"type": "list", "elements": "raw", "default": [], "no_log": True},
            "src": {"type": "list", "elements": "str", "default": []},
            "remote_src": {"type": "bool", "default": False},
            "namespace": {"type": "str"},
            "set": {"type": "str"},
            "prune": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "keep": {"type": "list", "elements": "str", "default": []},
            "wait": {"type": "bool", "default": True},
            "wait_timeout": {"type": "int", "default": 300},
            "force_conflicts": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    client = None
    outcome = _manifests_sync.Outcome()
    message = ""
    try:
        options = _manifests_sync.options(params, check_mode=module.check_mode)
        manifests = _manifests.parse([*params["manifests"], *_manifests.read_files(params["src"])])
        client = from_module(module)
        run = _manifests_sync.apply if params["state"] == "present" else _manifests_sync.remove
        outcome = run(client, manifests, options)
    except ObserverError as error:
        message = str(error)
        outcome = getattr(error, "outcome", outcome)
    for warning in outcome.warnings:
        module.warn(warning)
    result = {
        "changed": outcome.changed,
        "created": outcome.created,
        "updated": outcome.updated,
        "deleted": outcome.deleted,
        "unchanged": outcome.unchanged,
        "kept": outcome.kept,
        "requests": client.requests if client else 0,
        "diff": outcome.diff,
    }
    if message:
        module.fail_json(msg=message, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
