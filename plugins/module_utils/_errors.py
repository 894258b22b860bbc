# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: the one exception that its code raises on purpose."""

from __future__ import annotations


class ObserverError(Exception):
    """A failure the user can act on; its text names the item and the remedy, and never a secret."""
