# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What the filters adopt_dashboard and adopt_dashboard_problems take."""

    DOCUMENTATION = r"""
options:
  datasource:
    description:
      - Uid of the Prometheus datasource to use, or a variable by which it is chosen in Grafana, such as V(${datasource}), which is added if missing.
      - Variables that chose the datasource before are removed if nothing else names them.
    type: str
    default: ${datasource}
  keep_datasources:
    description: Names or uids of datasources that are left as they are, with their queries. Needed for those that are no Prometheus and do not say so.
    type: list
    elements: str
    default: []
  matchers:
    description:
      - Matchers that go into every selector of every PromQL query, for example V(infrastructure=~"$infrastructure") or V(cluster="").
      - A variable in a matcher must be one of O(variables) or of the dashboard.
      - Needs the Python library promql-parser 0.11 or later on the controller.
    type: list
    elements: str
    default: []
  existing_matchers:
    description:
      - What happens to the matchers that a selector has on the same label.
      - With V(replace) those of O(matchers) take their place.
      - With V(keep) they stay, and that selector gets none on this label.
    type: str
    choices: [replace, keep]
    default: replace
  variables:
    description:
      - Query variables to add. One of the same name is replaced; what is chosen in it stays chosen.
      - They come behind the variables that choose the datasource, and before all others. Nothing is put into their own queries.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the variable.
        type: str
        required: true
      label:
        description: What is shown before it; by default its name.
        type: str
      query:
        description: Its query; by default C(label_values(up{<name>!=""}, <name>)).
        type: str
      multi:
        description: Whether several values can be chosen. Then matchers must use V(=~) or V(!~).
        type: bool
        default: true
      include_all:
        description: Whether all can be chosen.
        type: bool
        default: true
      all_value:
        description: What the choice of all stands for, a regular expression. By default whatever is not empty.
        type: str
        default: .+
      hide:
        description: Whether the variable is not shown.
        type: bool
        default: false
  uid:
    description: The new uid. By default the dashboard's own, or one made of its title if it has none. Excludes O(uid_prefix).
    type: str
    default: ""
  uid_prefix:
    description: Put before the dashboard's uid if it does not begin so. A result of more than 40 characters is shortened, always in the same way.
    type: str
    default: ""
  title_prefix:
    description: Put before the title if it does not begin so.
    type: str
    default: ""
  tags:
    description: Tags to add.
    type: list
    elements: str
    default: []
  replace_tags:
    description: Whether the tags that it had are dropped.
    type: bool
    default: false
"""
