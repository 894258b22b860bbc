# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: what is wrong with an OSISM host for a Thanos sidecar, and what the sidecar is made of. Pure; runs on the controller.

C(settings) is the mapping that roles/osism_thanos_sidecar/vars/main.yml makes of the role's variables, C(look) what module osism_thanos_sidecar_info returned.
A problem is one sentence on what is wrong and one on the remedy. What Prometheus only has to be told by kolla is no problem, but pending.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import typing as t
import urllib.parse

from ansible_collections.scs.observer.plugins.module_utils import _osism_host as osism_host
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError as error:
    IMPORT_ERROR: ImportError | None = error
else:
    IMPORT_ERROR = None if hasattr(x509.Certificate, "not_valid_after_utc") else ImportError("the one here is older")

Settings = t.Mapping[str, t.Any]
Facts = t.Mapping[str, t.Any]

V: t.Final = "osism_thanos_sidecar_"  # prefix of the role's variables
RFC1123_LABEL: t.Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL_NAME: t.Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
IMAGE: t.Final = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?")
RESERVED_LABELS: t.Final = ("cluster", "infrastructure", "receive_replica", "ruler_replica", "observer", "tenant_id")
CONFIGURATION: t.Final = "/configuration"  # the folder of that name, in the container
BLOCK_FLAGS: t.Final = ("storage.tsdb.min-block-duration", "storage.tsdb.max-block-duration")
BLOCK_DURATION: t.Final = "2h"
PROMETHEUS_3_NEEDS: t.Final = (0, 37)  # older ones read no external labels of it: thanos-io/thanos#7893
APPLY: t.Final = "osism apply prometheus"


# What the sidecar is made of


def wanted_labels(settings: Settings, host: str) -> dict[str, str]:
    """The external labels of a host's Prometheus. Only where there are several do they need one that tells them apart."""
    labels = {"infrastructure": settings["infrastructure"], **settings["external_labels"]}
    if settings["replica_label"] and len(settings["hosts"]) > 1:
        labels[settings["replica_label"]] = host
    return labels


def remote_write_name(certificate: str) -> str:
    """A name that changes with the certificate, so that Prometheus tells which one it was started with. A certificate is public."""
    return f"{osism_host.REMOTE_NAME}-{hashlib.sha256(certificate.strip().encode()).hexdigest()[:8]}"


def with_block_durations(extras: str) -> str:
    """An operator's prometheus_cmdline_extras with both block durations the same, and everything else as it was."""
    kept = []
    dropped = ""
    for word in extras.split():
        if word.startswith("-") or not dropped:
            name, sign, _value = word.lstrip("-").partition("=")
            dropped = name if name in BLOCK_FLAGS else ""
            if not dropped:
                kept.append(word)
            if sign:
                dropped = ""
        else:
            dropped = ""  # the value that follows its flag
    return " ".join(kept + [f"--{flag}={BLOCK_DURATION}" for flag in BLOCK_FLAGS])


def block_durations_equal(flags: t.Mapping[str, str]) -> bool:
    low, high = (flags.get(name, "") for name in BLOCK_FLAGS)
    return bool(low) and low == high


def compose(settings: Settings, look: Facts) -> dict[str, t.Any]:
    """The Compose project. Its label holds a checksum of everything the container reads, so that a run sees whether it runs with that.

    The checksum covers the private key, so no password can be guessed by it.
    """
    upload = settings["mode"] == "upload"
    command = [
        "sidecar",
        f"--prometheus.url={look['prometheus']['url']}",
        f"--prometheus.http-client-file={CONFIGURATION}/prometheus-http-client.yml",
        f"--grpc-address={osism_host.join_address(look['sidecar']['address'], settings['grpc_port'])}",
        f"--http-address={osism_host.join_address(settings['http_address'], settings['http_port'])}",
        f"--grpc-server-tls-cert={CONFIGURATION}/tls/tls.crt",
        f"--grpc-server-tls-key={CONFIGURATION}/tls/tls.key",
        f"--grpc-server-tls-client-ca={CONFIGURATION}/tls/client-ca.crt",
    ]
    volumes: list[dict[str, t.Any]] = [_bind(f"{settings['directory']}/configuration", CONFIGURATION)]
    service: dict[str, t.Any] = {
        "image": settings["image"],
        "container_name": osism_host.PROJECT,
        "restart": "unless-stopped",
        # The unit pulls at each start; without this a registry that is down would keep the sidecar down.
        "pull_policy": "missing",
        "user": f"{settings['uid']}:{settings['gid']}",
        "network_mode": "host",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "command": command,
        "volumes": volumes,
    }
    project: dict[str, t.Any] = {"services": {osism_host.PROJECT: service}}
    if upload:
        command += [f"--objstore.config-file={CONFIGURATION}/objstore.yml", f"--tsdb.path={osism_host.DATA_PATH}"]
        volumes.append({"type": "volume", "source": "prometheus", "target": osism_host.DATA_PATH})
        # external, for Compose would make an empty volume of its own else
        project["volumes"] = {"prometheus": {"external": True, "name": look["prometheus"]["data_volume"]}}
        if look["machine"]["ca_bundle"]:
            volumes.append(_bind(look["machine"]["ca_bundle"], "/etc/ssl/certs/ca-certificates.crt"))
    read = [project, *(settings[name] for name in ("username", "password", "certificate", "private_key", "client_ca"))]
    read += [settings["objstore_config"]] if upload else []
    service["labels"] = {osism_host.CHECKSUM_LABEL: hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()}
    return project


def _bind(source: str, target: str) -> dict[str, t.Any]:
    return {"type": "bind", "source": source, "target": target, "read_only": True, "bind": {"create_host_path": False}}


# Problems


def preflight(
    host: str, look: Facts, configuration: Facts, settings: Settings, parts: t.Collection[str] = ("prometheus",), now: datetime.datetime | None = None
) -> dict[str, list[str]]:
    """All problems of one host, which is a Prometheus host, the manager, or both; and what is pending. C(configuration) is what was found on the manager."""
    expected = {"prometheus": "prometheus", "manager": "configuration"}
    if look.get("unreachable") or any(not look.get(expected[part]) for part in parts):
        message = " ".join(str(look.get("msg", "Ansible said nothing")).split())
        return {"problems": [f"The host can not be looked at: {message.rstrip('.')}. Make it reachable for Ansible, with root's rights."], "pending": []}
    if settings["state"] == "absent":
        return {"problems": [], "pending": []}
    problems = input_problems(settings, now or datetime.datetime.now(datetime.UTC))
    pending: list[str] = []
    if "manager" in parts and not look["configuration"]["found"]:
        problems.append(
            f"There is no {settings['configuration_directory']}/environments/kolla. Set {V}configuration_directory to OSISM's configuration repository, or "
            f"{V}manage_configuration=false."
        )
    if "prometheus" in parts:
        problems += machine_problems(look, settings) + prometheus_problems(look, settings)
        judges = (label_problems(host, look, configuration, settings), upload_problems(look, configuration, settings), remote_write_problems(look, settings))
        for found, more in judges:
            problems += found
            pending += more
    return {"problems": list(dict.fromkeys(problems)), "pending": pending}


def _is_name(settings: Settings) -> bool:
    return bool(RFC1123_LABEL.fullmatch(settings["infrastructure"]))


def input_problems(settings: Settings, now: datetime.datetime) -> list[str]:
    """What is wrong with the variables, whatever the host."""
    if IMPORT_ERROR is not None:
        raise ObserverError(f"The Python library cryptography of Ansible's machine can not be used ({IMPORT_ERROR}). Install version 42 or newer there.")
    problems = []
    mode, name = settings["mode"], settings["infrastructure"]
    if not _is_name(settings):
        problems.append(
            f"{V}infrastructure {name!r} is no RFC 1123 label. Name the infrastructure as the Observer's observer_infrastructures does: at most 63 lower "
            "case letters, digits and '-', with a letter or digit at both ends."
        )
    if settings["manage_configuration"] and not settings["manager"]:
        problems.append(f"The inventory has no group manager, on whose first host the configuration is. Add it, or set {V}manage_configuration=false.")
    for label, value in settings["external_labels"].items():
        if not LABEL_NAME.fullmatch(label) or label.startswith("__") or label in RESERVED_LABELS or label == settings["replica_label"]:
            problems.append(f"{V}external_labels has {label!r}, which is no name for a label or means something to the Observer. Use another name.")
        elif not isinstance(value, str) or not value:
            problems.append(f"{V}external_labels.{label} is no text. Quote its value.")
    if settings["replica_label"] and (not LABEL_NAME.fullmatch(settings["replica_label"]) or settings["replica_label"] in RESERVED_LABELS):
        problems.append(f"{V}replica_label {settings['replica_label']!r} can not be used. Leave it at prometheus_replica, which Query knows.")
    for variable in ("grpc_port", "http_port"):
        if not 1 <= settings[variable] <= 65535:
            problems.append(f"{V}{variable} {settings[variable]} is no port. Use 1 to 65535.")
    if settings["grpc_port"] == settings["http_port"]:
        problems.append(f"{V}grpc_port and {V}http_port are both {settings['grpc_port']}. Give each its own.")
    if not IMAGE.fullmatch(settings["image"]):
        problems.append(f"{V}image {settings['image']!r} is no reference of an image. Write it like quay.io/thanos/thanos:v0.42.4.")
    if settings["url"] and not re.fullmatch(r"http://[^/?#\s@]+(/[^?#\s]*)?", settings["url"]):
        problems.append(f"{V}prometheus_url {settings['url']!r} is no http:// URL without user. Leave it empty to have it found, or correct it.")
    if settings["username"] and not settings["password"]:
        problems.append(
            f"{V}prometheus_password is empty. It is prometheus_password of environments/kolla/secrets.yml by default: run in the environment kolla, or load "
            "that file."
        )
    for variable in ("prometheus_password", "grpc_private_key", "remote_write_private_key"):
        if settings[_short(variable)].startswith("$ANSIBLE_VAULT"):
            problems.append(f"{V}{variable} is still encrypted by ansible-vault. Give Ansible the vault's password.")
    if mode == "upload" and not (isinstance(settings["objstore_config"].get("type"), str) and isinstance(settings["objstore_config"].get("config"), dict)):
        problems.append(f"{V}objstore_config has no type and config, which {V}mode=upload needs. Write it as Thanos's objstore.yml.")
    if mode != "upload" and settings["objstore_config"]:
        problems.append(f"{V}objstore_config is given, but {V}mode={mode} uploads nothing. Set {V}mode=upload, or leave it out.")
    if mode == "remote_write":
        return problems + _remote_write_input(settings, now)
    return problems + _grpc_input(settings, now)


def _remote_write_input(settings: Settings, now: datetime.datetime) -> list[str]:
    problems = []
    parts = urllib.parse.urlsplit(settings["remote_write_url"])
    if parts.scheme != "https" or not parts.hostname or parts.username:
        problems.append(
            f"{V}remote_write_url {settings['remote_write_url']!r} is no https:// URL without user. Take it from the file that the Observer's playbook "
            "observer_infrastructures wrote."
        )
    if not settings["manage_configuration"]:
        problems.append(f"{V}mode=remote_write is made of configuration only, and {V}manage_configuration is false. Set it to true.")
    found, leaf = _pair_problems("remote_write_certificate", "remote_write_private_key", settings, now, "client")
    problems += found
    if leaf is not None:
        names = [attribute.value for attribute in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        if _is_name(settings) and names != [settings["infrastructure"]]:
            problems.append(
                f"{V}remote_write_certificate is {', '.join(map(str, names)) or 'nobody'}'s, and {V}infrastructure is {settings['infrastructure']!r}. "
                "Take both from the same file of the Observer."
            )
    authority, found = _certificates("remote_write_ca", settings, now)
    return (
        problems
        + found
        + ([] if found or _is_authority(authority[0]) else [f"{V}remote_write_ca is no authority's certificate. Give the authority of Receive's."])
    )


def _grpc_input(settings: Settings, now: datetime.datetime) -> list[str]:
    problems, leaf = _pair_problems("grpc_certificate", "grpc_private_key", settings, now, "server")
    authorities, found = _certificates("grpc_client_ca", settings, now)
    problems += found
    if not found and not all(_is_authority(one) for one in authorities):
        problems.append(f"{V}grpc_client_ca is no authority's certificate. Give the certificate of the Observer's inside CA.")
    if leaf is None or found:
        return problems
    name = f"{settings['infrastructure']}.infrastructure"
    if _is_name(settings) and name not in _dns_names(leaf):
        problems.append(
            f"{V}grpc_certificate is for {', '.join(_dns_names(leaf)) or 'no name'}, and not for {name}, which the Observer's Query asks for. Take certificate "
            "and infrastructure from the same file of the Observer."
        )
    if any(_signed_by(leaf, one) for one in authorities):
        problems.append(
            f"{V}grpc_client_ca has signed {V}grpc_certificate, so every infrastructure's certificate would open this sidecar. Give the certificate of the "
            "Observer's inside CA, which signs Query's."
        )
    return problems


def _pair_problems(certificate: str, key: str, settings: Settings, now: datetime.datetime, usage: str) -> tuple[list[str], t.Any]:
    """Of a certificate and its key, and the leaf if it can be read."""
    chain, problems = _certificates(certificate, settings, now)
    if problems:
        return problems, None
    usages = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
    try:
        if usages[usage] not in chain[0].extensions.get_extension_for_class(x509.ExtendedKeyUsage).value:
            problems.append(f"{V}{certificate} is no {usage}'s certificate. Take certificate and key from the file of the Observer.")
    except x509.ExtensionNotFound:
        pass  # good for everything
    try:
        private = serialization.load_pem_private_key(settings[_short(key)].encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return [*problems, f"{V}{key} is no private key without password in PEM. Take it from the file of the Observer."], chain[0]
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != chain[0].public_key().public_bytes(*form):
        problems.append(f"{V}{key} does not belong to {V}{certificate}. Take both from the same file of the Observer.")
    return problems, chain[0]


def _short(variable: str) -> str:
    """Name of a variable among the settings."""
    return variable.removeprefix("grpc_").removeprefix("prometheus_")


def _certificates(name: str, settings: Settings, now: datetime.datetime) -> tuple[list[t.Any], list[str]]:
    variable, text = f"{V}{name}", settings[_short(name)]
    if not text.strip():
        return [], [f"{variable} is empty. Take it from the file that the Observer's playbook observer_infrastructures wrote for this infrastructure."]
    try:
        found = x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        return [], [f"{variable} is no certificate in PEM. Take it from the file that the Observer's playbook observer_infrastructures wrote."]
    for one in found:
        if not one.not_valid_before_utc <= now <= one.not_valid_after_utc:
            return [], [
                f"{variable} is valid from {one.not_valid_before_utc:%Y-%m-%d} to {one.not_valid_after_utc:%Y-%m-%d} only. Run the Observer's playbook "
                "observer_infrastructures, which renews it."
            ]
    return found, []


def _dns_names(certificate: t.Any) -> list[str]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        return []


def _is_authority(certificate: t.Any) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False


def _signed_by(certificate: t.Any, authority: t.Any) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def machine_problems(look: Facts, settings: Settings) -> list[str]:
    """What is wrong with Docker, and with the place the sidecar is to run at."""
    engine, machine, sidecar = look["engine"], look["machine"], look["sidecar"]
    if not engine["docker"]:
        hint = " There is podman, with which this role can not work." if engine["podman"] else ""
        return [f"Docker does not answer ({engine['error']}).{hint} The role needs kolla_container_engine=docker, and Docker running."]
    if settings["mode"] == "remote_write":
        return []
    problems = []
    if not engine["compose"]:
        problems.append("Docker Compose v2 is missing. Install the package docker-compose-plugin, as OSISM's role docker_compose does.")
    if not machine["systemd"]:
        problems.append("There is no systemd, by which OSISM runs Compose projects. Use a host that OSISM has deployed.")
    if not machine["user"]:
        problems.append(f"There is no user {settings['operator_user']!r}, who is to own the files. Set {V}operator_user to OSISM's operator_user.")
    if sidecar["found"] and sidecar["project"] != osism_host.PROJECT:
        problems.append(f"The container {osism_host.PROJECT!r} belongs to something else than {settings['directory']}. Remove or rename it.")
    problems += [f"Port {port} is in use by something else. Stop that, or set {V}grpc_port or {V}http_port." for port in sidecar["taken_ports"]]
    if sidecar["address"] and not sidecar["address_is_own"]:
        problems.append(f"{V}address {sidecar['address']!r} is no address of this host. Give its internal address, or leave it empty.")
    if not sidecar["address"] and look["prometheus"]["found"]:
        problems.append(f"Prometheus does not say on which address of the host it listens. Set {V}address to the host's internal address.")
    return problems


def prometheus_problems(look: Facts, settings: Settings) -> list[str]:
    """What is wrong with the host's Prometheus, its labels apart."""
    prometheus = look["prometheus"]
    api, container = prometheus["api"], settings["container"]
    if not look["engine"]["docker"]:
        return []
    if not prometheus["found"]:
        return [f"There is no container {container!r}. Deploy it first ({APPLY}), or correct {V}hosts."]
    if not prometheus["running"]:
        return [
            f"The container {container!r} does not run (it is {prometheus['status'] or 'stopped'}). Start it first; docker logs {container} says why it ended."
        ]
    url = prometheus["url"]
    if not url:
        return [f"The address of {container!r} is not in kolla's config.json. Set {V}prometheus_url."]
    if api["status"] in (401, 403):
        return [
            f"Prometheus at {url} refuses the user {settings['username']!r} (HTTP {api['status']}). Correct {V}prometheus_username and "
            f"{V}prometheus_password (kolla's prometheus_password)."
        ]
    if api["status"] != 200 or api["error"]:
        return [f"Prometheus at {url} does not answer ({api['error'] or 'HTTP ' + str(api['status'])}). Start it, or correct {V}prometheus_url."]
    problems = []
    if not prometheus["url_is_own"]:
        problems.append(
            f"{V}prometheus_url {url} is no address of this host. A sidecar reads the Prometheus beside it, never through the load balancer: leave it empty."
        )
    thanos = re.search(r":v(\d+)\.(\d+)", settings["image"])
    if thanos and api["version"].split(".")[0].isdigit() and int(api["version"].split(".")[0]) >= 3 and (int(thanos[1]), int(thanos[2])) < PROMETHEUS_3_NEEDS:
        problems.append(f"{settings['image']} reads no labels of Prometheus {api['version']}. Use Thanos v0.37 or newer.")
    return problems


def label_problems(host: str, look: Facts, configuration: Facts, settings: Settings) -> tuple[list[str], list[str]]:
    """Of the external labels: problems, and what is pending."""
    if not _is_name(settings):
        return [], []
    api = look["prometheus"]["api"]
    wanted = wanted_labels(settings, host)
    problems, pending = [], []
    if len(settings["hosts"]) > 1 and not settings["replica_label"]:
        problems.append(f"There are {len(settings['hosts'])} Prometheus hosts and {V}replica_label is empty, so their series can not be told apart. Set it.")
    for entry in configuration.get("definitions", []):
        given = _value(entry) if entry["name"] == "prometheus_external_labels" else {}
        name = given.get("infrastructure") if isinstance(given, dict) else None
        if name is not None and name != settings["infrastructure"]:
            problems.append(_other_name(f"{entry['path']} has the external label infrastructure={name}", settings))
    if api["status"] != 200 or api["error"]:
        return problems, pending
    running = api["external_labels"]
    own = _own_labels(configuration)
    if "cluster" in running:
        problems.append(
            "Prometheus has the external label cluster, by which the Observer would take the infrastructure for a KaaS cluster. Take it out of "
            f"prometheus_external_labels or the overlays, and run {APPLY}."
        )
    for label, value in wanted.items():
        now = running.get(label)
        if now == value:
            continue
        if label == "infrastructure" and now is not None and own.get(label) not in (now, value):
            problems.append(_other_name(f"Prometheus has the external label infrastructure={now}", settings))
        elif settings["manage_configuration"]:
            pending.append(f"The external label {label} is {'not there' if now is None else now} and has to be {value}.")
        else:
            problems.append(
                f"Prometheus has no external label {label}={value}, and {V}manage_configuration is false. Add it to prometheus_external_labels and run {APPLY}."
            )
    return problems, pending


def _other_name(what: str, settings: Settings) -> str:
    return f"{what}, and {V}infrastructure is {settings['infrastructure']!r}. Use one name in both, the one of the Observer's observer_infrastructures."


def _value(entry: Facts) -> t.Any:
    """The value of a definition as far as it is plain YAML. None for an encrypted one."""
    import yaml

    try:
        return next(iter((yaml.safe_load(entry["text"]) or {}).values()), None)
    except (yaml.YAMLError, AttributeError):
        return None


def _own_labels(configuration: Facts) -> dict[str, str]:
    """The labels of the overlay that an earlier run has written."""
    import yaml

    labels: dict[str, str] = {}
    for text in configuration.get("own", {}).values():
        try:
            labels.update(((yaml.safe_load(text) or {}).get("global") or {}).get("external_labels") or {})
        except (yaml.YAMLError, AttributeError, TypeError, ValueError):
            continue
    return labels


def foreign_extras(configuration: Facts) -> list[Facts]:
    """Definitions of prometheus_cmdline_extras that are not the role's."""
    return [entry for entry in configuration.get("definitions", []) if entry["name"] == "prometheus_cmdline_extras"]


def upload_problems(look: Facts, configuration: Facts, settings: Settings) -> tuple[list[str], list[str]]:
    """Of uploading blocks: problems, and what is pending."""
    if settings["mode"] != "upload":
        return [], []
    prometheus = look["prometheus"]
    problems, pending = [], []
    if prometheus["found"] and not prometheus["data_volume"]:
        problems.append(
            f"The data of {settings['container']!r} is on no volume of Docker's, so it can not be uploaded. Use {V}mode=query, or kolla's own volume."
        )
    owner = prometheus.get("data_owner")
    if owner and owner != [settings["uid"], settings["gid"]]:
        problems.append(
            f"The data of Prometheus belongs to {owner[0]}:{owner[1]}, and the sidecar would be {settings['uid']}:{settings['gid']}. Correct {V}uid and {V}gid."
        )
    equal = block_durations_equal(prometheus["api"].get("flags", {}))
    for entry in foreign_extras(configuration):
        value = _value(entry) or ""
        if not isinstance(value, str) or not block_durations_equal(osism_host.read_flags(value)):
            text = with_block_durations(value) if isinstance(value, str) and "{" not in value else with_block_durations("")
            problems.append(
                f"prometheus_cmdline_extras of {entry['path']} would win over the role's, and Thanos uploads only when both block durations are the same. "
                f'Write there: prometheus_cmdline_extras: "{text}".'
            )
    if not equal and prometheus["api"]["status"] == 200:
        if settings["manage_configuration"]:
            pending.append("The block durations of Prometheus are not the same.")
        else:
            problems.append(
                f"The block durations of Prometheus are not the same, and {V}manage_configuration is false. Set prometheus_cmdline_extras to "
                f'"{with_block_durations("")}" and run {APPLY}.'
            )
    return problems, pending


def remote_write_problems(look: Facts, settings: Settings) -> tuple[list[str], list[str]]:
    """Of the remote write: problems, and what is pending, in the other modes too, where there has to be none."""
    running = look["prometheus"]["api"].get("remote_writes", [])
    if settings["mode"] != "remote_write":
        return [], [f"Prometheus still writes to {entry['url']}." for entry in running]
    problems, pending = [], []
    wanted = {"name": remote_write_name(settings["remote_write_certificate"]), "url": settings["remote_write_url"]}
    if running != [wanted]:
        pending.append(f"Prometheus does not write to {settings['remote_write_url']} with this certificate.")
    tried = look.get("remote_write")
    if tried and tried["status"] == 0:
        problems.append(
            f"{settings['remote_write_url']} is not to be reached with this certificate from this host ({tried['error']}). Correct {V}remote_write_url, or "
            "take certificate, key and authority from the Observer's newest file."
        )
    elif tried and tried["status"] not in (200, 204, 400):
        problems.append(f"{settings['remote_write_url']} answers HTTP {tried['status']}, and Receive would answer 400. Correct {V}remote_write_url.")
    return problems, pending


def pair_problems(looks: t.Mapping[str, Facts]) -> list[str]:
    """What is wrong between the hosts: two that read the same Prometheus."""
    urls: dict[str, list[str]] = {}
    for host, look in looks.items():
        url = (look.get("prometheus") or {}).get("url", "")
        if url and urllib.parse.urlsplit(url).hostname not in ("127.0.0.1", "localhost", "::1"):
            urls.setdefault(url, []).append(host)
    return [
        f"{' and '.join(hosts)} read the same Prometheus at {url}. Each reads its own: leave {V}prometheus_url empty."
        for url, hosts in urls.items()
        if len(hosts) > 1
    ]


def report(found: t.Mapping[str, t.Sequence[str]]) -> str:
    """All problems as one text, empty without any. What is wrong on several hosts is said once, with their names."""
    hosts: dict[str, list[str]] = {}
    for host, problems in found.items():
        for problem in problems:
            hosts.setdefault(problem, []).append(host)
    return "\n".join(f"- {', '.join(names)}: {problem}" for problem, names in hosts.items())


def thanos_error(log: str) -> str:
    """What a Thanos that ended says, without its stack and without values of the configuration (YAML's errors quote them)."""
    errors = re.findall(r' err=("(?:[^"\\]|\\.)*"|\S+)', log)
    if not errors:
        return (log.strip().splitlines() or ["nothing is said"])[-1]
    text = json.loads(errors[-1]) if errors[-1].startswith('"') else errors[-1]
    lines = [line.strip() for line in text.splitlines() if not line.startswith("\t") and not re.match(r"[\w./-]+\.[\w.()*]+$", line)]
    return re.sub(r"`[^`]*`", "`...`", "; ".join(lines))


# After the start


def unready(look: Facts, settings: Settings) -> list[str]:
    """What keeps the sidecar from working, after it was started."""
    sidecar = look["sidecar"]
    if settings["mode"] == "remote_write":
        sent = look["prometheus"]["api"].get("remote_write_samples", {})
        problems = [] if sent.get("sent") else [f"Prometheus has not sent a sample to {settings['remote_write_url']} yet. Its log says why."]
        return problems + ([f"Prometheus failed to send {int(sent['failed'])} samples. Its log says why."] if sent.get("failed") else [])
    if not sidecar["found"] or not sidecar["running"]:
        return [
            f"The container {osism_host.PROJECT} does not run. docker logs {osism_host.PROJECT} and journalctl -u docker-compose@{osism_host.PROJECT} say why."
        ]
    log = f"docker logs {osism_host.PROJECT} says why."
    problems = []
    if sidecar["checksum"] != compose(settings, look)["services"][osism_host.PROJECT]["labels"][osism_host.CHECKSUM_LABEL]:
        problems.append(f"The container is not the one that was configured. journalctl -u docker-compose@{osism_host.PROJECT} says why.")
    if sidecar["ready"]["status"] != 200:
        problems.append(f"It is not ready ({sidecar['ready']['error'] or sidecar['ready']['status']}); {log}")
    if not sidecar.get("prometheus_up"):
        problems.append(f"It does not see Prometheus (thanos_sidecar_prometheus_up is not 1); {log}")
    if sidecar.get("upload_failures"):
        problems.append(f"{sidecar['upload_failures']} uploads have failed; {log} See to {V}objstore_config.")
    grpc = sidecar["grpc"]
    expected = x509.load_pem_x509_certificates(settings["certificate"].encode())[0].public_bytes(serialization.Encoding.DER)
    if not grpc["reachable"]:
        problems.append(f"Its gRPC port can not be reached with TLS ({grpc['error']}); {log}")
    elif grpc["certificate_sha256"] != hashlib.sha256(expected).hexdigest():
        problems.append(f"Its gRPC port shows another certificate than {V}grpc_certificate; {log}")
    elif not grpc["refuses_strangers"]:
        problems.append(f"Its gRPC port takes clients without a certificate; {log}")
    return problems
