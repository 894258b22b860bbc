# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._images import IMAGES, image_list, image_reference

DIGEST = "sha256:" + "a" * 64


def test_official_reference() -> None:
    assert image_reference("thanos") == IMAGES["thanos"].reference
    assert image_reference("pause") == f"registry.k8s.io/pause:{IMAGES['pause'].tag}"


@pytest.mark.parametrize("prefix", ["registry.example.com/mirror", "registry.example.com/mirror/"])
def test_prefix_replaces_the_registry_host(prefix: str) -> None:
    assert image_reference("thanos", prefix) == f"registry.example.com/mirror/thanos/thanos:{IMAGES['thanos'].tag}"


@pytest.mark.parametrize("prefix", ["localhost:5000", "[fd00::1]:5000", "registry.example.com:443/a/b_c/d-e"])
def test_prefixes_that_registries_allow(prefix: str) -> None:
    assert image_reference("python", prefix) == f"{prefix}/library/python:{IMAGES['python'].tag}"


@pytest.mark.parametrize("prefix", ["https://registry.example.com", "registry.example.com/UPPER", "registry.example.com//a", "a b", 5])
def test_malformed_prefix_is_named(prefix: object) -> None:
    with pytest.raises(ObserverError, match=r"image prefix .* is not a registry"):
        image_reference("thanos", prefix)  # type: ignore[arg-type]


@pytest.mark.parametrize("reference", ["r.example.com/t/t:v1", f"r.example.com/t/t@{DIGEST}", f"r.example.com:5000/t/t:v1@{DIGEST}"])
def test_override_wins_over_prefix_and_stays_as_it_is(reference: str) -> None:
    assert image_reference("thanos", "registry.example.com", {"thanos": reference}) == reference
    assert image_reference("prometheus", "registry.example.com", {"thanos": reference}).startswith("registry.example.com/prometheus/")


@pytest.mark.parametrize("reference", ["r.example.com/t/t", "r.example.com:5000/t/t", "thanos:v1", "r.example.com/t/t@sha256:abc", "", None, "https://r/t:v1"])
def test_override_without_tag_or_digest_is_refused(reference: object) -> None:
    with pytest.raises(ObserverError, match=r"override .* of image 'thanos' is not a full reference"):
        image_reference("thanos", "", {"thanos": reference})  # type: ignore[dict-item]


def test_every_override_is_checked_whichever_image_is_asked_for() -> None:
    with pytest.raises(ObserverError, match=r"overridden image 'thanso' is not one of this collection.*thanos"):
        image_reference("prometheus", "", {"thanso": "r.example.com/t/t:v1"})


def test_unknown_image_lists_the_known() -> None:
    with pytest.raises(ObserverError, match=r"image 'nginx' is not one of this collection. Use one of: .*thanos"):
        image_reference("nginx")


@pytest.mark.parametrize("nothing", ["", None, {}])
def test_unset_overrides(nothing: object) -> None:
    assert image_reference("thanos", None, nothing) == IMAGES["thanos"].reference  # type: ignore[arg-type]


def test_overrides_that_are_no_dictionary() -> None:
    with pytest.raises(ObserverError, match="overrides are not a dictionary"):
        image_reference("thanos", "", ["x"])  # type: ignore[arg-type]


def test_list_holds_all_but_the_lab_images() -> None:
    rows = image_list(prefix="registry.example.com/m")
    assert [row["name"] for row in rows] == [name for name, image in IMAGES.items() if not image.lab]
    assert {"coredns", "pause"}.isdisjoint(row["name"] for row in rows)
    assert rows[0] == {
        "name": "thanos",
        "source": IMAGES["thanos"].reference,
        "target": f"registry.example.com/m/thanos/thanos:{IMAGES['thanos'].tag}",
    }


def test_list_of_wanted_names_in_their_order_and_once() -> None:
    rows = image_list(["python", "thanos", "python"], "", {"thanos": "r.example.com/t/t:v1"})
    assert [(row["name"], row["target"]) for row in rows] == [("python", IMAGES["python"].reference), ("thanos", "r.example.com/t/t:v1")]
    assert rows[1]["source"] == IMAGES["thanos"].reference


def test_list_wants_a_list() -> None:
    with pytest.raises(ObserverError, match="are not a list"):
        image_list("thanos")


def test_every_tag_is_exact() -> None:
    assert all(image.tag not in ("", "latest") for image in IMAGES.values())
    assert len({image.reference for image in IMAGES.values()}) == len(IMAGES)
