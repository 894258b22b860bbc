# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds O(src), and O(kubeconfig) where the module runs on the controller, as the action plugins of dashboards and of Kubernetes modules do."""

from __future__ import annotations

import typing as t

from ansible_collections.scs.observer.plugins.action.grafana_dashboards import ActionModule as DashboardsActionModule


class ActionModule(DashboardsActionModule):
    def _arguments(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        self._find_kubeconfig(arguments)
        return super()._arguments(arguments)
