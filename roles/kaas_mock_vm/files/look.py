# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the cloud has of a name, and what it offers, as JSON: look.py CLOUD REGION NAME MARK KEYPAIR. It reads only.

One program instead of a dozen runs of openstack.cloud.resources, each of which logs in anew.
"""

from __future__ import annotations

import json
import sys

import openstack
from keystoneauth1.exceptions import ClientException
from openstack.exceptions import SDKException


def look(cloud: str, region: str, name: str, mark: str, keypair: str) -> dict[str, dict[str, list[dict[str, object]]]]:
    connection = openstack.connect(cloud=cloud or None, region_name=region or None)
    network, compute = connection.network, connection.compute

    def brief(items: object, *names: str) -> list[dict[str, object]]:
        return [{field: item[field] for field in ("id", "name", *names)} for item in items]  # type: ignore[attr-defined]

    there = {
        "key pair": [item for item in brief(compute.keypairs(), "public_key") if item["name"] == keypair],
        "network": brief(network.networks(name=name), "description"),
        "subnet": brief(network.subnets(name=name), "description", "cidr"),
        "router": brief(network.routers(name=name), "description"),
        "security group": brief(network.security_groups(name=name), "description"),
        "port": brief(network.ports(name=name), "description"),
        "floating IP": brief(network.ips(description=mark), "floating_ip_address", "port_id"),
        # Nova takes the name as a regular expression
        "server": brief(compute.servers(name=f"^{name}$"), "metadata", "status", "fault"),
    }
    offered = {
        "image": [item for item in brief(connection.image.images(), "status") if item["status"] == "active"],
        "flavor": brief(compute.flavors(), "disk"),
        "external network": brief(network.networks(is_router_external=True)),
    }
    return {"there": there, "offered": offered}


def main() -> None:
    try:
        print(json.dumps(look(*sys.argv[1:])))
    except (SDKException, ClientException) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
