# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: the one table of container images, and where each is pulled from."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError


@dataclasses.dataclass(frozen=True)
class Image:
    """One image of the official publisher; C(lab) marks what only the lab runs."""

    registry: str
    repository: str
    tag: str
    lab: bool = False

    @property
    def reference(self) -> str:
        return f"{self.registry}/{self.repository}:{self.tag}"


IMAGES: t.Final[t.Mapping[str, Image]] = {
    "thanos": Image("quay.io", "thanos/thanos", "v0.42.4"),
    "prometheus": Image("quay.io", "prometheus/prometheus", "v3.15.0"),
    "alertmanager": Image("quay.io", "prometheus/alertmanager", "v0.31.1"),
    "blackbox_exporter": Image("quay.io", "prometheus/blackbox-exporter", "v0.28.0"),
    "node_exporter": Image("quay.io", "prometheus/node-exporter", "v1.12.1"),
    "kube_state_metrics": Image("registry.k8s.io", "kube-state-metrics/kube-state-metrics", "v2.15.0"),
    "python": Image("docker.io", "library/python", "3.11-slim-bookworm"),
    "openstack_exporter": Image("ghcr.io", "openstack-exporter/openstack-exporter", "1.7.0"),
    "grafana": Image("docker.io", "grafana/grafana", "10.4.19"),
    "coredns": Image("registry.k8s.io", "coredns/coredns", "v1.15.0", lab=True),
    "pause": Image("registry.k8s.io", "pause", "3.10", lab=True),
}

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
_PREFIX = re.compile(rf"{_HOST}(?:/{_COMPONENT})*")
_REFERENCE = re.compile(rf"{_HOST}(?:/{_COMPONENT})+(?::[A-Za-z0-9_][A-Za-z0-9._-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?")


def _known(name: str, what: str) -> None:
    if name not in IMAGES:
        raise ObserverError(f"{what} {name!r} is not one of this collection. Use one of: {', '.join(sorted(IMAGES))}.")


def _checked_prefix(prefix: object) -> str:
    """A prefix as users write it (a trailing slash is harmless) or one clear error."""
    if prefix is None or prefix == "":
        return ""
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix.rstrip("/")):
        raise ObserverError(
            f"The image prefix {prefix!r} is not a registry with an optional path. "
            "Write it without scheme and tag, like registry.example.com/mirror or registry.example.com:5000."
        )
    return prefix.rstrip("/")


def _checked_overrides(overrides: object) -> dict[str, str]:
    if overrides is None or overrides == "":
        return {}
    if not isinstance(overrides, dict):
        raise ObserverError("The image overrides are not a dictionary. Write them as name: full reference.")
    checked: dict[str, str] = {}
    for name, reference in overrides.items():
        _known(name, "The overridden image")
        pinned = isinstance(reference, str) and (":" in reference.rpartition("/")[2])
        if not pinned or not _REFERENCE.fullmatch(reference):
            raise ObserverError(
                f"The override {reference!r} of image {name!r} is not a full reference with a tag or a digest. "
                "Write it like registry.example.com/thanos/thanos:v1.2.3 or registry.example.com/thanos/thanos@sha256:<64 hex digits>."
            )
        checked[name] = reference
    return checked


def image_reference(name: str, prefix: str | None = "", overrides: t.Mapping[str, str] | None = None) -> str:
    """The full reference of one image: the override, else the official one with C(prefix) in place of its registry."""
    _known(name, "The image")
    checked_prefix = _checked_prefix(prefix)
    override = _checked_overrides(overrides).get(name)
    if override is not None:
        return override
    image = IMAGES[name]
    return f"{checked_prefix or image.registry}/{image.repository}:{image.tag}"


def image_list(names: t.Sequence[str] | None = None, prefix: str | None = "", overrides: t.Mapping[str, str] | None = None) -> list[dict[str, str]]:
    """What has to be mirrored: for each image its official reference and the one that will be pulled. Without names all but the lab's."""
    if isinstance(names, str):
        raise ObserverError(f"The image names {names!r} are not a list. Write them like [thanos, prometheus].")
    wanted = list(names) if names else [name for name, image in IMAGES.items() if not image.lab]
    rows: list[dict[str, str]] = []
    for name in dict.fromkeys(wanted):
        _known(name, "The image")
        rows.append({"name": name, "source": IMAGES[name].reference, "target": image_reference(name, prefix, overrides)})
    return rows
