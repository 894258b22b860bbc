# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._images import image_list, image_reference


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
