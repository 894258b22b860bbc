# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: the connection options of kubernetes.core, which Galaxy could not render from another collection."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  host:
    description:
      - URL of the API server. Also by environment variable E(K8S_AUTH_HOST).
    type: str
  api_key:
    description:
      - Token for the API server. Also by environment variable E(K8S_AUTH_API_KEY).
    type: str
  kubeconfig:
    description:
      - Path of a kubeconfig file, or its content as a mapping. Without this and other connection options C(~/.kube/config) is used.
        Also by environment variable E(K8S_AUTH_KUBECONFIG).
      - A path is looked for on the controller, as M(ansible.builtin.copy) does, when the connection is C(local). A file encrypted with Ansible
        Vault is decrypted.
      - Several paths are joined by V(:).
    type: raw
  context:
    description:
      - Name of a context in the kubeconfig. Also by environment variable E(K8S_AUTH_CONTEXT).
    type: str
  username:
    description:
      - User name for the API server, where a proxy in front of it asks for one. Also by environment variable E(K8S_AUTH_USERNAME).
    type: str
  password:
    description:
      - Password for O(username). Also by environment variable E(K8S_AUTH_PASSWORD).
    type: str
  client_cert:
    description:
      - Path of a client certificate. Also by environment variable E(K8S_AUTH_CERT_FILE).
    type: path
    aliases: [cert_file]
  client_key:
    description:
      - Path of the client certificate's key. Also by environment variable E(K8S_AUTH_KEY_FILE).
    type: path
    aliases: [key_file]
  ca_cert:
    description:
      - Path of the certificates of the CA that signed the API server's certificate, the whole chain. Also by environment variable
        E(K8S_AUTH_SSL_CA_CERT).
    type: path
    aliases: [ssl_ca_cert]
  validate_certs:
    description:
      - Whether the API server's certificate is verified. Also by environment variable E(K8S_AUTH_VERIFY_SSL).
    type: bool
    aliases: [verify_ssl]
  proxy:
    description:
      - URL of an HTTP or SOCKS proxy. Also by environment variable E(K8S_AUTH_PROXY).
    type: str
  no_proxy:
    description:
      - Hosts, domains, addresses and networks that are reached without O(proxy), separated by commas. Also by environment variable
        E(K8S_AUTH_NO_PROXY).
    type: str
  proxy_headers:
    description:
      - Headers for the proxy.
    type: dict
    suboptions:
      proxy_basic_auth:
        description:
          - User name and password for the proxy, separated by a colon. Also by environment variable E(K8S_AUTH_PROXY_HEADERS_PROXY_BASIC_AUTH).
        type: str
      basic_auth:
        description:
          - User name and password for the server, separated by a colon. Also by environment variable E(K8S_AUTH_PROXY_HEADERS_BASIC_AUTH).
        type: str
      user_agent:
        description:
          - The user agent to be shown. Also by environment variable E(K8S_AUTH_PROXY_HEADERS_USER_AGENT).
        type: str
  persist_config:
    description:
      - Whether renewed tokens are written back into the kubeconfig. Also by environment variable E(K8S_AUTH_PERSIST_CONFIG).
    type: bool
  impersonate_user:
    description:
      - User to impersonate. Also by environment variable E(K8S_AUTH_IMPERSONATE_USER).
    type: str
  impersonate_groups:
    description:
      - Groups to impersonate. Also by environment variable E(K8S_AUTH_IMPERSONATE_GROUPS), separated by commas.
    type: list
    elements: str
notes:
  - The connection options are those of the collection kubernetes.core.
"""
