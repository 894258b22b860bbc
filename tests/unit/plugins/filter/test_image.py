# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.scs.observer.plugins.filter.image import FilterModule
from ansible_collections.scs.observer.plugins.module_utils._images import IMAGES

FILTERS = FilterModule().filters()


def test_image() -> None:
    assert FILTERS["image"]("thanos", "registry.example.com", {}) == f"registry.example.com/thanos/thanos:{IMAGES['thanos'].tag}"


def test_image_list() -> None:
    assert FILTERS["image_list"](["thanos"]) == [{"name": "thanos", "source": IMAGES["thanos"].reference, "target": IMAGES["thanos"].reference}]


@pytest.mark.parametrize("name", ["image", "image_list"])
def test_errors_are_filter_errors(name: str) -> None:
    with pytest.raises(AnsibleFilterError, match="image prefix"):
        FILTERS[name]("thanos" if name == "image" else ["thanos"], "https://x")
