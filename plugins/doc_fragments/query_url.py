# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """How to come in at the URL of a Prometheus or Thanos; the options of module_utils/_rules_options.py."""

    DOCUMENTATION = r"""
options:
  url_username:
    description: User for basic authentication at the URL.
    type: str
  url_password:
    description: Password for basic authentication at the URL.
    type: str
  url_token:
    description: Bearer token for the URL.
    type: str
  url_ca_certificate:
    description: PEM text of the authority that signed the URL's certificate. Then no other is trusted. By default those of the system and C(certifi).
    type: str
  url_client_certificate:
    description: PEM text of a client certificate for the URL.
    type: str
  url_client_key:
    description: PEM text of the private key of O(url_client_certificate), not encrypted.
    type: str
"""
