# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._images import image_list, image_reference

DOCUMENTATION = r"""
name: image
short_description: Full reference of a container image of this collection
version_added: 0.1.0
author:
  - Sovereign Cloud Stack (@SovereignCloudStack)
description:
  - Gives the full reference of a container image by the name this collection knows it by, so that
    versions are written in one place and every image can come from one registry.
positional: prefix, overrides
options:
  _input:
    description:
      - The name of the image, for example V(thanos).
      - An unknown name is an error that lists the known ones.
    type: str
    required: true
  prefix:
    description:
      - Registry, and optionally a path in it, that takes the place of the official registry's host.
      - Empty means the official registry.
    type: str
    default: ""
  overrides:
    description:
      - Full references, with tag or digest, by name of the image. They win over everything else and are used as they are.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: The official image, quay.io/thanos/thanos with this collection's tag
  ansible.builtin.debug:
    msg: "{{ 'thanos' | scs.observer.image }}"

- name: The same image in a mirror, registry.example.com/mirror/thanos/thanos with the same tag
  ansible.builtin.debug:
    msg: "{{ 'thanos' | scs.observer.image('registry.example.com/mirror') }}"

- name: As the roles use it
  ansible.builtin.debug:
    msg: "{{ 'thanos' | scs.observer.image(observer_image_prefix, observer_images) }}"
"""

RETURN = r"""
_value:
  description: The full reference of the image.
  type: str
"""


def _image(name: str, prefix: str | None = "", overrides: t.Mapping[str, str] | None = None) -> str:
    try:
        return image_reference(name, prefix, overrides)
    except ObserverError as error:
        raise AnsibleFilterError(str(error)) from error


def _image_list(names: t.Sequence[str] | None = None, prefix: str | None = "", overrides: t.Mapping[str, str] | None = None) -> list[dict[str, str]]:
    try:
        return image_list(names, prefix, overrides)
    except ObserverError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"image": _image, "image_list": _image_list}
