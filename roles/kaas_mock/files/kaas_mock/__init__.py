# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The KaaS mock service: Kubernetes clusters on demand, for showing and testing the Observer."""

from __future__ import annotations

VERSION = "0.1.0"
