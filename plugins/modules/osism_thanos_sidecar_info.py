#!/usr/bin/python
# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: osism_thanos_sidecar_info
short_description: Looks at the Prometheus of an OSISM host and at the Thanos sidecar beside it
version_added: 0.1.0
author:
  - Sovereign Cloud Stack (@SovereignCloudStack)
description:
  - Collects what the role C(scs.observer.osism_thanos_sidecar) has to know of a host before it changes anything, and afterwards whether the sidecar works.
  - It reads only, and never fails for what it finds. A host without Docker or a wrong password are facts like others. The role judges them.
  - No password, key, environment or list of arguments is returned.
  - Written for the Docker CLI with Compose v2, for C(prometheus_server) as kolla-ansible 2024.1 to 2026.1 runs it (Prometheus 2.55 to 3.x, HTTP API C(v1)), and
    for Thanos 0.37 and later.
requirements:
  - Python 3.9 or newer on the host.
  - Root on the host, for kolla's configuration and Docker's volumes are root's.
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
  prometheus:
    description: Look at the Prometheus of this host. Without it nothing is said of Docker, Prometheus, sidecar and machine.
    type: dict
    suboptions:
      container:
        description: Name of its container.
        type: str
        default: prometheus_server
      url:
        description: Its URL. Empty means the address that kolla lets it listen on.
        type: str
        default: ""
      username:
        description: User for basic authentication. Empty means none.
        type: str
        default: ""
      password:
        description: The user's password.
        type: str
        default: ""
  sidecar:
    description: How the sidecar is, or will be, run on this host.
    type: dict
    default: {}
    suboptions:
      image:
        description: Its image. RV(sidecar) says whether the host has it.
        type: str
        default: ""
      address:
        description: Address of its gRPC port. Empty means the one Prometheus listens on.
        type: str
        default: ""
      grpc_port:
        description: Its gRPC port.
        type: int
        default: 10901
      http_address:
        description: Address of its HTTP port.
        type: str
        default: 127.0.0.1
      http_port:
        description: Its HTTP port.
        type: int
        default: 10902
      user:
        description: User that owns its files.
        type: str
        default: dragon
      directory:
        description: Folder of its Compose project.
        type: path
        default: /opt/thanos_sidecar
  remote_write:
    description: Try whether the Observer's Receive lets this client in, by an empty request that stores nothing.
    type: dict
    suboptions:
      url:
        description: URL of the remote write.
        type: str
        required: true
      certificate:
        description: PEM text of the client's certificate.
        type: str
        required: true
      private_key:
        description: PEM text of its key.
        type: str
        required: true
      ca:
        description: PEM text of the authority of the server's certificate.
        type: str
        required: true
  configuration:
    description: Look at the configuration repository of this host, which is a manager.
    type: dict
    suboptions:
      directory:
        description: Its folder.
        type: path
        default: /opt/configuration
      own:
        description: Paths below it that belong to the role. Their content is returned, and they are not among the definitions.
        type: list
        elements: str
        default: []
seealso:
  - name: Prometheus HTTP API
    description: What is asked of Prometheus.
    link: https://prometheus.io/docs/prometheus/latest/querying/api/
"""

EXAMPLES = r"""
- name: Look at Prometheus and at the sidecar
  scs.observer.osism_thanos_sidecar_info:
    prometheus:
      username: admin
      password: "{{ prometheus_password }}"
    sidecar:
      image: quay.io/thanos/thanos:v0.42.4
  register: __look
  become: true

- name: Show where Prometheus listens
  ansible.builtin.debug:
    var: __look.prometheus.url

- name: Look at the configuration repository on the manager
  scs.observer.osism_thanos_sidecar_info:
    configuration:
      directory: /opt/configuration
"""

RETURN = r"""
engine:
  description: Whether Docker and Compose answer, with Compose's version and the reason if Docker does not.
  returned: with O(prometheus)
  type: dict
  sample: {docker: true, error: "", compose: 2.29.7, podman: false}
prometheus:
  description:
    - Prometheus's container, with its data volume and the owner of the data, the flags kolla gives it, its URL, and under C(api) what its API says of version,
      external labels, block durations and remote writes of this collection.
  returned: with O(prometheus)
  type: dict
  sample: {found: true, running: true, data_volume: prometheus_server, url: "http://192.168.16.5:9091", api: {status: 200}}
sidecar:
  description: The sidecar's container, ports that something else listens on, whether it is ready, sees Prometheus, uploads, and what its gRPC port says.
  returned: with O(prometheus)
  type: dict
  sample: {found: true, running: true, taken_ports: [], ready: {status: 200, error: ""}, prometheus_up: true}
machine:
  description: Whether there are the user, systemd, the unit template C(docker-compose@.service), the folder, and a bundle of authorities.
  returned: with O(prometheus)
  type: dict
  sample: {user: true, systemd: true, unit_template: given, unit_enabled: true, unit_active: true, other_units: [], directory: true}
remote_write:
  description: The status of an empty remote write, 0 with the error when there was no answer. 400 means that the client was let in.
  returned: with O(remote_write)
  type: dict
  sample: {status: 400, error: ""}
configuration:
  description: Whether there is a configuration repository, who defines variables that the role may have to set, and the content of O(configuration.own).
  returned: with O(configuration)
  type: dict
  sample: {found: true, definitions: [{path: environments/kolla/configuration.yml, name: prometheus_external_labels}], own: {}}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.observer.plugins.module_utils import _osism_host as host

ARGUMENT_SPEC = {
    "prometheus": {
        "type": "dict",
        "options": {
            "container": {"type": "str", "default": "prometheus_server"},
            "url": {"type": "str", "default": ""},
            "username": {"type": "str", "default": ""},
            "password": {"type": "str", "default": "", "no_log": True},
        },
    },
    "sidecar": {
        "type": "dict",
        "default": {},
        "options": {
            "image": {"type": "str", "default": ""},
            "address": {"type": "str", "default": ""},
            "grpc_port": {"type": "int", "default": 10901},
            "http_address": {"type": "str", "default": "127.0.0.1"},
            "http_port": {"type": "int", "default": 10902},
            "user": {"type": "str", "default": "dragon"},
            "directory": {"type": "path", "default": "/opt/thanos_sidecar"},
        },
        "apply_defaults": True,
    },
    "remote_write": {
        "type": "dict",
        "options": {
            "url": {"type": "str", "required": True},
            "certificate": {"type": "str", "required": True},
            "private_key": {"type": "str", "required": True, "no_log": True},
            "ca": {"type": "str", "required": True},
        },
    },
    "configuration": {
        "type": "dict",
        "options": {
            "directory": {"type": "path", "default": "/opt/configuration"},
            "own": {"type": "list", "elements": "str", "default": []},
        },
    },
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    given = module.params
    result: dict[str, object] = {"changed": False}

    def run(command: list[str]) -> tuple[int, str, str]:
        try:
            return module.run_command(command, handle_exceptions=False)
        except OSError as error:
            return 127, "", str(error)

    if given["prometheus"]:
        sidecar = given["sidecar"]
        result["engine"] = host.look_at_engine(run)
        prometheus = host.look_at_prometheus(run, **given["prometheus"])
        result["prometheus"] = prometheus
        address = sidecar["address"] or ("" if host.is_wildcard(prometheus["address"]) else prometheus["address"])
        sidecar_facts = host.look_at_sidecar(run, sidecar["image"], address, sidecar["grpc_port"], sidecar["http_address"], sidecar["http_port"])
        result["sidecar"] = {"address": address, **sidecar_facts}
        result["machine"] = host.look_at_machine(run, sidecar["user"], sidecar["directory"])
    if given["remote_write"]:
        write = given["remote_write"]
        result["remote_write"] = host.look_at_receive(write["url"], write["certificate"], write["private_key"], write["ca"], module.tmpdir)
    if given["configuration"]:
        result["configuration"] = host.look_at_configuration(given["configuration"]["directory"], given["configuration"]["own"])
    module.exit_json(**result)


if __name__ == "__main__":
    main()
