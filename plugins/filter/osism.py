# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.scs.observer.plugins.module_utils import _osism_sidecar
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError


def _typed(settings: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """ansible-core before 2.19 makes text of every number that comes out of a template."""
    return {**settings, **{name: int(settings[name]) for name in ("uid", "gid", "grpc_port", "http_port")}}


def _preflight(
    look: t.Mapping[str, t.Any],
    settings: t.Mapping[str, t.Any],
    host: str,
    parts: t.Sequence[str] = ("prometheus",),
    configuration: t.Mapping[str, t.Any] | None = None,
) -> dict[str, t.Any]:
    return _osism_sidecar.preflight(host, look, configuration or {}, _typed(settings), parts)


def _report(found: t.Mapping[str, t.Sequence[str]], looks: t.Mapping[str, t.Any] | None = None) -> str:
    between = _osism_sidecar.pair_problems(looks or {})
    return _osism_sidecar.report({**found, **({"all Prometheus hosts": between} if between else {})})


def _compose(look: t.Mapping[str, t.Any], settings: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return _osism_sidecar.compose(_typed(settings), look)


def _unready(look: t.Mapping[str, t.Any], settings: t.Mapping[str, t.Any]) -> list[str]:
    return _osism_sidecar.unready(look, _typed(settings))


def _own_errors(function: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    @functools.wraps(function)
    def wrapped(*arguments: t.Any) -> t.Any:
        try:
            return function(*arguments)
        except ObserverError as error:
            raise AnsibleFilterError(str(error)) from error

    return wrapped


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        filters = {
            "osism_sidecar_preflight": _preflight,
            "osism_sidecar_report": _report,
            "osism_sidecar_compose": _compose,
            "osism_sidecar_unready": _unready,
            "osism_sidecar_remote_write_name": _osism_sidecar.remote_write_name,
            "osism_sidecar_foreign_extras": _osism_sidecar.foreign_extras,
            "osism_sidecar_thanos_error": _osism_sidecar.thanos_error,
            "osism_sidecar_block_durations": _osism_sidecar.with_block_durations,
        }
        return {name: _own_errors(function) for name, function in filters.items()}
