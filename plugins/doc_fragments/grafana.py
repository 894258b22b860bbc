# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """How a module reaches Grafana. The same options as C(_grafana_http.ARGUMENT_SPEC)."""

    DOCUMENTATION = r"""
options:
  url:
    description:
      - URL of Grafana, as V(https://grafana.example.com) or with a path as V(https://example.com/grafana). Without C(/api).
      - Redirects are not followed. Proxies are taken from the environment (E(HTTPS_PROXY), E(HTTP_PROXY), E(NO_PROXY)).
    type: str
    required: true
  url_token:
    description:
      - Token of a service account.
      - One of O(url_token), O(url_username) and O(url_client_certificate) is required.
    type: str
    aliases: [token]
  url_username:
    description: User for basic authentication.
    type: str
  url_password:
    description: Password for basic authentication.
    type: str
  url_ca_certificate:
    description: PEM text of the authority that signed the certificate of O(url). Then no other is trusted. By default those of C(certifi).
    type: str
  url_client_certificate:
    description: PEM text of a client certificate, for a proxy before Grafana that asks for one.
    type: str
  url_client_key:
    description: PEM text of the private key of O(url_client_certificate), not encrypted.
    type: str
  org_id:
    description:
      - Number of the organisation, for users that belong to several. It goes with each request, the user's current organisation stays as it is.
      - A token belongs to one organisation, and needs none.
    type: int
  timeout:
    description: How long Grafana may take for one answer, in seconds.
    type: int
    default: 30
  retries:
    description:
      - How many times a request is sent again at most, when Grafana is not reachable or answers with 429, 500, 502, 503 or 504.
      - The time between two attempts doubles from half a second on. Where Grafana says how long to wait, that is done, up to 30 seconds.
    type: int
    default: 3
  concurrency:
    description: How many requests may be under way at one time, 1 to 32.
    type: int
    default: 8
requirements:
  - python >= 3.11
  - requests >= 2.25
notes:
  - Made for the C(/api) of Grafana 10 to 13.
"""
