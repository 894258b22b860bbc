# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: adopted_dashboards
short_description: A folder of dashboards, made fit for infrastructures of the Observer
version_added: 0.1.0
author:
  - Sovereign Cloud Stack (@SovereignCloudStack)
description:
  - Reads dashboards that were written for the Prometheus of one OpenStack deployment, and gives them back so that each looks only at one infrastructure, or at
    those that are chosen in it. The playbook C(scs.observer.adopt_dashboards) does all that is to be done with them.
  - Each dashboard is changed as by P(scs.observer.adopt_dashboard#filter), with the matchers C(infrastructure=~"$infrastructure") and C(cluster="") in every
    selector. Links between the dashboards lead to the adopted ones.
  - All that is wrong with the files is told together.
options:
  _terms:
    description:
      - Files, folders and patterns (C(*), C(?), C([abc]), C(**)) with dashboards. Of a folder, all that ends in C(.json) is taken, in subfolders too.
    type: list
    elements: str
    required: true
  infrastructures:
    description:
      - The infrastructures, each by its name, or as a mapping with C(name) and perhaps C(folder) (instead of O(folder)). Other keys mean nothing here, so that
        C(observer_infrastructures) can be given.
    type: list
    elements: raw
    required: true
  multi:
    description:
      - Whether one set of dashboards is for all of them, in which one, several or all can be chosen. Otherwise each infrastructure gets a set of its own.
    type: bool
    default: false
  folder:
    description:
      - Path of the folder in Grafana. C({infrastructure}) in it is the name. By default V(IaaS {infrastructure}), with O(multi) V(IaaS).
    type: str
    default: ""
  subfolders:
    description: Whether subfolders of a folder that is given become folders below O(folder).
    type: bool
    default: false
  set_name:
    description: What the set is called; with the infrastructure's name behind it, this is a tag of its dashboards alone.
    type: str
    default: adopted
  tags:
    description: Tags to add to C(iaas), the names of the infrastructures and that of the set.
    type: list
    elements: str
    default: []
  keep_datasources:
    description: As O(scs.observer.adopt_dashboard#filter:keep_datasources).
    type: list
    elements: str
    default: []
requirements:
  - promql-parser >= 0.11
seealso:
  - plugin: scs.observer.adopt_dashboard
    plugin_type: filter
  - module: scs.observer.grafana_dashboards
"""

EXAMPLES = r"""
- name: Bring the dashboards of two infrastructures
  scs.observer.grafana_dashboards:
    url: https://grafana.example.com
    url_token: "{{ grafana_token }}"
    dashboards: "{{ item.entries }}"
  loop: "{{ query('scs.observer.adopted_dashboards', 'kolla-operations/grafana/dashboards', infrastructures=['testbed', 'prod']) }}"
  loop_control:
    label: "{{ item.name }}"
"""

RETURN = r"""
_list:
  description: Each set of dashboards, that is one for each infrastructure, or with O(multi) one.
  type: list
  elements: dict
  contains:
    name:
      description: Name of the infrastructure; V(IaaS) with O(multi).
      type: str
    infrastructures:
      description: The infrastructures that it is for.
      type: list
      elements: str
    folder:
      description: Path of its folder in Grafana.
      type: str
    tag:
      description: The tag of its dashboards alone.
      type: str
    path:
      description: A folder's name for it. The uids of its dashboards begin with this and C(_).
      type: str
    dashboards:
      description: Its dashboards, in the order of the files.
      type: list
      elements: dict
      contains:
        file:
          description: The file that it was made of.
          type: str
        path:
          description: Path of a file for it, which no other has.
          type: str
          sample: testbed/testbed_node-rsrc-use.json
        uid:
          description: Its uid.
          type: str
        title:
          description: Its title.
          type: str
        queries:
          description: How many queries of panels, variables and annotations were to be changed.
          type: int
        changed:
          description: How many of them are.
          type: int
        problems:
          description: What stays as it is, and why; as P(scs.observer.adopt_dashboard_problems#filter) gives it, with the C(title).
          type: list
          elements: dict
    entries:
      description:
        - The same dashboards as O(scs.observer.grafana_dashboards#module:dashboards) takes them, with C(name) (the file), C(folder) (of Grafana) and
          C(content) (the adopted dashboard, as JSON).
      type: list
      elements: dict
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.scs.observer.plugins.module_utils import _dashboard_set, _grafana_dashboards
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[dict[str, t.Any]]:
        self.set_options(var_options=variables, direct=kwargs)
        options = self.get_options()
        try:
            wanted = _dashboard_set.groups(options["infrastructures"], multi=options["multi"], folder=options["folder"], name=options["set_name"])
            sources = _grafana_dashboards.read_all([str(term) for term in terms])
            how = {name: options[name] for name in ("tags", "keep_datasources", "subfolders")}
            return [self._given(group, _dashboard_set.adopted(sources, group, **how)) for group in wanted]
        except ObserverError as error:
            raise AnsibleLookupError(str(error)) from error

    def _given(self, group: _dashboard_set.Group, dashboards: list[_dashboard_set.Adopted]) -> dict[str, t.Any]:
        about = {"name": group.name, "infrastructures": list(group.infrastructures), "folder": group.folder, "tag": group.tag, "path": group.path}
        entries = [dashboard.entry(group.folder) for dashboard in dashboards]
        return {**about, "dashboards": [dashboard.about(group) for dashboard in dashboards], "entries": entries}
