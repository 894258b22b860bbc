# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What osism.services.thanos_sidecar, removed in 2026, has left on hosts: its Compose project, network and unit are taken over."""

from __future__ import annotations

from _osism import Sidecar
from osism_host.machine import DRAGON

# Our own words for what its templates gave: a published port, a network with a fixed subnet, the old image, no authentication.
COMPOSE = """
services:
  thanos_sidecar:
    image: quay.io/thanos/thanos:v0.32.5
    container_name: thanos_sidecar
    restart: unless-stopped
    command: [sidecar, "--prometheus.url=http://localhost:9090", "--prometheus.http-client={}", "--grpc-address=0.0.0.0:10901", "--http-address=0.0.0.0:10902"]
    ports: ["127.0.0.1:10901:10901", "127.0.0.1:10902:10902"]
    volumes: ["/etc/ssl/certs/ca-certificates.crt:/etc/ssl/certs/ca-certificates.crt:ro"]
networks:
  default:
    driver: bridge
    ipam:
      config: [{subnet: 172.31.101.192/28}]
"""
# OSISM's unit, which pulls at each start: that must not need a registry when the image is there.
UNIT = """
[Unit]
Description=%i service managed by Docker Compose
PartOf=osism.target
Requires=docker.service
After=docker.service
[Service]
Type=simple
RemainAfterExit=true
WorkingDirectory=/opt/%i
User=dragon
Group=dragon
ExecStartPre=/usr/bin/docker compose pull
ExecStart=/usr/bin/docker compose up --remove-orphans
ExecStop=/usr/bin/docker compose stop
[Install]
WantedBy=osism.target
"""


def test_a_leftover_of_the_old_role_is_taken_over(sidecar: Sidecar) -> None:
    manager = sidecar.host.manager
    manager.sh("install -d -m 750 -o dragon -g dragon /opt/thanos_sidecar /opt/thanos_sidecar/configuration")
    manager.write("/opt/thanos_sidecar/docker-compose.yml", COMPOSE, mode=0o640, owner=DRAGON)
    manager.write("/etc/systemd/system/docker-compose@.service", UNIT)
    manager.sh(
        """
        docker tag quay.io/thanos/thanos:v0.42.4 quay.io/thanos/thanos:v0.32.5
        systemctl daemon-reload
        systemctl enable --quiet docker-compose@thanos_sidecar.service
        cd /opt/thanos_sidecar; sudo -u dragon docker compose up --detach --quiet-pull
        """
    )
    assert "thanos_sidecar_default" in manager.sh("docker network ls --format '{{.Name}}'")
    before = sidecar.state()
    assert sidecar.works("--check", "--diff").changed > 3
    assert sidecar.state()["files"] == before["files"]
    sidecar.works()
    container = sidecar.container()
    assert container["State"]["Running"] and container["Config"]["Image"] == "quay.io/thanos/thanos:v0.42.4"
    assert container["HostConfig"]["NetworkMode"] == "host"
    assert "thanos_sidecar_default" not in manager.sh("docker network ls --format '{{.Name}}'")
    assert sidecar.works().changed == 0
    with sidecar.query() as query:
        query.wait_for_stores()


def test_removal_leaves_osisms_unit(sidecar: Sidecar) -> None:
    sidecar.works(state="absent")
    left = sidecar.state()
    assert "docker-compose@.service" in left["files"]
    assert "thanos_sidecar" not in left["containers"] and "/opt/thanos_sidecar" not in left["files"]
    sidecar.host.manager.sh("rm /etc/systemd/system/docker-compose@.service; systemctl daemon-reload; docker rmi quay.io/thanos/thanos:v0.32.5")
