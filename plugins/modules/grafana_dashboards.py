#!/usr/bin/python
# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: grafana_dashboards
short_description: Bring many dashboards into Grafana by one task
version_added: 0.1.0
author:
  - Sovereign Cloud Stack (@SovereignCloudStack)
description:
  - Reads what Grafana has, plans, and writes only dashboards that differ, several at a time. Folders are made on demand.
  - Dashboards are compared by what they mean. What Grafana fills in (id, version, missing panel ids, its own annotations, the content of library
    panels), the order of keys and tags, empty values and what is the default anyway are no difference.
  - All that is wrong with the input (broken JSON, no uid, no title, two dashboards with one uid, an unknown datasource) and all that Grafana would refuse
    for certain (provisioned dashboards, missing rights) is reported together, before anything is written. If Grafana then refuses
    single dashboards, the others are written, and each failure is named.
extends_documentation_fragment:
  - scs.observer.grafana
options:
  src:
    description:
      - Files, folders and patterns (C(*), C(?), C([abc]), C(**)) with dashboards. Of a folder, all that ends in C(.json) is taken, in subfolders too.
      - Looked for on the controller, as M(ansible.builtin.copy) does, in C(files/) of a role too; files encrypted with Ansible Vault are decrypted.
    type: list
    elements: str
    default: []
  remote_src:
    description: Whether O(src) lies on the host that runs the module instead.
    type: bool
    default: false
  dashboards:
    description:
      - More dashboards. Each is a dashboard's own JSON, as a mapping or a text, or a mapping with the keys C(content) (that JSON), C(folder)
        (instead of O(folder)), C(uid) (instead of that in the content) and C(name) (how messages call it).
      - What Grafana's API exports, with C(dashboard) and C(meta), is understood too. Dashboards of schema v2 are refused.
      - With O(state=absent) a C(uid) is enough.
    type: list
    elements: raw
    default: []
  folder:
    description:
      - Path of the folder for all dashboards that name none, as V(KaaS/Clusters). Folders that do not exist are made.
        Folders inside of folders need Grafana 11, or its feature toggle C(nestedFolders).
      - A slash inside of a title is written as C(\\/). Empty, or V(General), is the top. A dashboard in another folder is moved.
    type: str
    default: ""
  folders_from_src:
    description: Whether subfolders of a folder in O(src) become folders below O(folder).
    type: bool
    default: false
  datasources:
    description:
      - Which datasources of this Grafana, by name or uid, stand for those that the dashboards name. A key is an input of an export for sharing
        (V(DS_PROMETHEUS)), a uid, a name, or a type (V(prometheus)), in this order of precedence.
      - Variables of a dashboard stay; a variable that chooses a datasource of a given type begins with the one named.
      - An input that nothing is given for is an error.
    type: dict
    default: {}
  state:
    description:
      - V(present) creates and updates the dashboards.
      - V(absent) deletes them. Folders stay.
    type: str
    choices: [present, absent]
    default: present
  prune:
    description:
      - Whether dashboards in the scope that are not among the given ones are deleted. The scope is O(prune_folder), O(prune_tag), or both together.
      - Provisioned dashboards stay, and are returned as RV(kept). Folders stay. When a dashboard could not be written, nothing is deleted.
    type: bool
    default: false
  prune_folder:
    description:
      - Path of a folder. Its dashboards are in the scope, and those of folders inside of it.
      - V(General) is the dashboards at the top only.
    type: str
  prune_tag:
    description: Dashboards with this tag are in the scope. All dashboards of this task get it.
    type: str
  prune_limit:
    description:
      - How many dashboards may be pruned at most, as a number such as V(10) or as a share such as V(10%) of those that are in the scope or given
        and exist. Were it more, the task fails, and nothing is written.
    type: str
  prune_allow_empty:
    description: Let O(prune) delete everything in the scope when no dashboard is given.
    type: bool
    default: false
  on_conflict:
    description:
      - What to do when somebody else writes a dashboard between reading and writing it, or when it belongs to a plugin.
      - V(fail) reports it, V(overwrite) writes over it, V(skip) leaves it and returns it as RV(left).
      - Another dashboard of the same title in the folder, which Grafana 10 does not allow, is never overwritten.
    type: str
    choices: [fail, overwrite, skip]
    default: fail
  commit_message:
    description: Message of each new version, which Grafana shows in a dashboard's history.
    type: str
    default: Written by Ansible
attributes:
  check_mode:
    support: full
    description: Can run in C(check_mode) and return what would be changed, also in folders that do not exist yet. Only reads.
  diff_mode:
    support: full
    description: Shows each dashboard that is created, updated or deleted, and each new folder.
  idempotent:
    support: full
    description: When run twice in a row outside check mode with the same arguments, the second run writes nothing.
seealso:
  - module: scs.observer.grafana_dashboards_info
"""

EXAMPLES = r"""
- name: Bring all dashboards of a folder
  scs.observer.grafana_dashboards:
    url: https://grafana.example.com
    url_token: "{{ grafana_token }}"
    src:
      - dashboards
    folder: Observer
    folders_from_src: true
    datasources:
      prometheus: Thanos

- name: Bring them, and delete what this task brought earlier and the folder holds no more
  scs.observer.grafana_dashboards:
    url: https://grafana.example.com
    url_token: "{{ grafana_token }}"
    src:
      - dashboards/*.json
    folder: Observer
    prune: true
    prune_tag: observer
    prune_limit: 10%

- name: Bring one, made by a template
  scs.observer.grafana_dashboards:
    url: https://grafana.example.com
    url_token: "{{ grafana_token }}"
    dashboards:
      - content: "{{ lookup('ansible.builtin.template', 'customer.json.j2') }}"
        folder: Customers/{{ customer }}
        uid: customer-{{ customer }}

- name: Delete two
  scs.observer.grafana_dashboards:
    url: https://grafana.example.com
    url_token: "{{ grafana_token }}"
    dashboards:
      - uid: customer-a
      - uid: customer-b
    state: absent
"""

RETURN = r"""
created:
  description: Uids of the dashboards that did not exist.
  returned: always
  type: list
  elements: str
  sample: [kaas-overview]
updated:
  description: Uids of the dashboards that were changed or moved.
  returned: always
  type: list
  elements: str
  sample: []
deleted:
  description: Uids of the dashboards that were deleted.
  returned: always
  type: list
  elements: str
  sample: []
unchanged:
  description: Uids of the dashboards that were as wanted already.
  returned: always
  type: list
  elements: str
  sample: [kaas-nodes, kaas-pods]
left:
  description: Uids of the dashboards that were left because of O(on_conflict=skip).
  returned: always
  type: list
  elements: str
  sample: []
kept:
  description: Uids of provisioned dashboards in the scope of O(prune), which can not be deleted.
  returned: always
  type: list
  elements: str
  sample: []
folders:
  description: Paths of the folders that were made.
  returned: always
  type: list
  elements: str
  sample: [Observer, Observer/KaaS]
failures:
  description: Each dashboard that Grafana did not take.
  returned: always
  type: list
  elements: dict
  contains:
    uid:
      description: Its uid.
      type: str
      returned: always
    title:
      description: Its title.
      type: str
      returned: always
    source:
      description: The file, or the place among O(dashboards), that it comes from.
      type: str
      returned: always
    message:
      description: What is wrong, and what to do.
      type: str
      returned: always
  sample: []
requests:
  description: Number of requests to Grafana.
  returned: always
  type: int
  sample: 505
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.observer.plugins.module_utils import _grafana_dashboards, _grafana_http, _grafana_sync
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError


def options_from(module: AnsibleModule) -> _grafana_sync.Options:
    params = module.params
    folder = None if params["prune_folder"] is None else _grafana_dashboards.split_path(params["prune_folder"])
    prune = _grafana_sync.Prune(folder, params["prune_tag"] or None, params["prune_limit"], params["prune_allow_empty"])
    return _grafana_sync.Options(
        **{name: params[name] for name in ("state", "datasources", "on_conflict", "commit_message")},
        prune=prune if params["prune"] else None,
        check=module.check_mode,
        diff=module._diff,
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_grafana_http.ARGUMENT_SPEC,
            "src": {"type": "list", "elements": "str", "default": []},
            "remote_src": {"type": "bool", "default": False},
            # no secrets, but megabytes in the log; the action plugin has packed them into one text, so that no_log hides no title elsewhere
            "dashboards": {"type": "list", "elements": "raw", "default": [], "no_log": True},
            "folder": {"type": "str", "default": ""},
            "folders_from_src": {"type": "bool", "default": False},
            "datasources": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "prune": {"type": "bool", "default": False},
            "prune_folder": {"type": "str"},
            "prune_tag": {"type": "str"},
            "prune_limit": {"type": "str"},
            "prune_allow_empty": {"type": "bool", "default": False},
            "on_conflict": {"type": "str", "choices": ["fail", "overwrite", "skip"], "default": "fail"},
            "commit_message": {"type": "str", "default": "Written by Ansible"},
        },
        supports_check_mode=True,
        **_grafana_http.ARGUMENT_RULES,
    )
    params = module.params
    requests, outcome = 0, _grafana_sync.Outcome()
    message = ""
    try:
        sources = _grafana_dashboards.read_all(params["src"])
        entries = [_grafana_dashboards.entry_of(source, params["folder"], by_folder=params["folders_from_src"]) for source in sources]
        given = _grafana_dashboards.unpack(params["dashboards"])
        wanted = _grafana_dashboards.parse([*given, *entries], params["folder"], content=params["state"] == "present")
        options = options_from(module)
        _grafana_sync.check_options(wanted, options)
        with _grafana_http.from_params(params) as client:
            try:
                outcome = _grafana_sync.run(client, wanted, options)
            finally:
                requests = client.requests
        message = _grafana_sync.failure_message(outcome) if outcome.failures else ""
    except ObserverError as error:
        message = str(error)
    for warning in outcome.warnings:
        module.warn(warning)
    result = {**outcome.result(), "requests": requests}
    if message:
        module.fail_json(msg=message, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
