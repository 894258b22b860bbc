# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of the KaaS mock service.

They are read from the TOML file that the environment variable KAAS_MOCK_SETTINGS names (keys as below, no sections), then from environment
variables KAAS_MOCK_<NAME>, which win. No setting is a secret: secrets lie in files of mode 0600 that settings name.
"""

from __future__ import annotations

import ipaddress
import os
import sys
import typing as t
from pathlib import Path

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

FILE_VARIABLE = "KAAS_MOCK_SETTINGS"
PREFIX = "KAAS_MOCK_"


class SettingsError(Exception):
    """One message: what, which setting, what to do."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    # -- the service ----------------------------------------------------------------------------------------------------------------------------
    state_dir: Path = Field(
        default=Path("/var/lib/kaas-mock"),
        description="Folder of the service's state, made with mode 0700: kaas.db, log/<job>.log, run/, ansible/, lock, and tokens.json by default.",
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one, which state_dir/address then names.")
    tls_certificate: Path | None = Field(default=None, description="PEM file with the server's certificate and its chain; without it plain HTTP is spoken.")
    tls_key: Path | None = Field(default=None, description="PEM file with its key.")
    # -- who may use it -------------------------------------------------------------------------------------------------------------------------
    auth: bool = Field(default=True, description="Whether the API asks for a bearer token.")
    auth_off_beyond_loopback: bool = Field(
        default=False, description="Allow auth = false on an address that others reach. Whoever reaches it then gets every cluster's kubeconfig."
    )
    tokens_file: Path | None = Field(
        default=None,
        description='JSON object {name: token}, mode 0600; by default state_dir/tokens.json. Made with a token "admin" when missing, read again when changed. '
        "The token admin sees all clusters, any other only those that it created.",
    )
    # -- the clusters ---------------------------------------------------------------------------------------------------------------------------
    max_clusters: int = Field(default=10, ge=1, le=89, description="How many clusters there may be.")
    parallel: int = Field(default=2, ge=1, le=20, description="How many are made or deleted at a time.")
    provider: t.Literal["source", "kind"] = Field(default="source", description="Provider of the role lab_cluster.")
    lab_root: Path = Field(default=Path("/var/lib/scs-observer-lab"), description="The role's lab_cluster_root.")
    lab_cache: Path | None = Field(default=None, description="The role's lab_cluster_cache; by default the role's own default.")
    first_index: int = Field(
        default=20,
        ge=1,
        le=89,
        description="With the provider source: lab_cluster_index of the first cluster. first_index to first_index + max_clusters - 1 are used.",
    )
    # -- Ansible --------------------------------------------------------------------------------------------------------------------------------
    variables: Path | None = Field(
        default=None,
        description="YAML or JSON file with Ansible variables for every run (-e @file): how to reach the Observer (observer_kubeconfig, observer_context, "
        "observer_namespace, observer_receive_public_url), and what differs from the defaults of the agents (kaas_agent_*) and clusters (lab_cluster_*).",
    )
    ansible_playbook: Path = Field(
        default=Path(sys.executable).parent / "ansible-playbook", description="The program ansible-playbook; by default the one beside this Python."
    )
    collections_path: str = Field(default="", description="ANSIBLE_COLLECTIONS_PATH of the runs; empty means Ansible's default.")
    job_timeout: int = Field(default=900, ge=10, description="Seconds that one step of a job may take.")
    attempts: int = Field(default=3, ge=1, le=100, description="How often a step is tried before its job fails.")
    retry_seconds: int = Field(default=30, ge=0, description="Seconds between two attempts.")
    keep_jobs: int = Field(default=200, ge=1, description="How many finished jobs are remembered, with their logs.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = os.environ.get(FILE_VARIABLE)
        file = (TomlConfigSettingsSource(settings_cls, Path(path)),) if path else ()
        return (init_settings, env_settings, *file)

    @property
    def tokens(self) -> Path:
        return self.tokens_file or self.state_dir / "tokens.json"

    @property
    def loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @model_validator(mode="after")
    def _fit(self) -> t.Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together. Set both or none.")
        for name in ("tls_certificate", "tls_key", "variables", "ansible_playbook"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise ValueError(f"{name}: there is no file {path}. Give the path of an existing one.")
        if not self.auth and not self.loopback and not self.auth_off_beyond_loopback:
            raise ValueError(
                f"auth = false on {self.host} would give every cluster's kubeconfig to whoever reaches that address. "
                "Listen on 127.0.0.1, leave auth on, or set auth_off_beyond_loopback = true too."
            )
        if self.provider == "source" and self.first_index + self.max_clusters - 1 > 89:
            raise ValueError(f"first_index {self.first_index} and max_clusters {self.max_clusters} go beyond lab_cluster's index 89. Make one of them smaller.")
        return self


def load() -> Settings:
    """The settings of this process; SettingsError with one message when they are wrong."""
    path = os.environ.get(FILE_VARIABLE)
    if path and not Path(path).is_file():
        raise SettingsError(f"{FILE_VARIABLE} names {path}, which is no file. Write it, or unset the variable.")
    try:
        return Settings()
    except ValidationError as error:
        lines = []
        for one in error.errors(include_url=False, include_input=False):
            place = ".".join(str(part) for part in one["loc"])
            message = one["msg"].removeprefix("Value error, ")
            lines.append(f"{place}: {message}" if place else message)
        raise SettingsError(f"The settings{f' in {path}' if path else ''} are wrong: " + "; ".join(lines)) from error
    except ValueError as error:
        raise SettingsError(f"The settings file {path} is no TOML: {error}. Mend it.") from error
