# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: looks at an OSISM host, its Prometheus as kolla runs it, and the Thanos sidecar beside it. Changes nothing.

It runs on the host, so it keeps to the syntax of Python 3.9 and needs nothing but the standard library and Ansible's own module_utils.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import pathlib
import pwd
import re
import shutil
import socket
import ssl
import tempfile
import typing as t
import urllib.error
import urllib.parse

from ansible.module_utils.urls import open_url

PROJECT: t.Final = "thanos_sidecar"  # of the old role osism.services.thanos_sidecar, too
CHECKSUM_LABEL: t.Final = "scs.observer.checksum"
UNIT: t.Final = f"docker-compose@{PROJECT}.service"
UNIT_TEMPLATE: t.Final = "docker-compose@.service"
UNIT_MARK: t.Final = "scs.observer"
DATA_PATH: t.Final = "/var/lib/prometheus"
KOLLA_CONFIG_PATH: t.Final = "/var/lib/kolla/config_files"
REMOTE_NAME: t.Final = "scs-observer"
CA_BUNDLES: t.Final = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
WATCHED_VARIABLES: t.Final = ("prometheus_cmdline_extras", "prometheus_external_labels")
TIMEOUT: t.Final = 10

Run = t.Callable[[t.List[str]], t.Tuple[int, str, str]]  # noqa: UP006  (evaluated where it runs)
Facts = t.Dict[str, t.Any]  # noqa: UP006


# Pure: what others wrote


def read_flags(command: str | t.Sequence[str]) -> dict[str, str]:
    """The flags of a command, as kolla's config.json has it (one string) or Docker (a list): --name=value, --name value, --name."""
    words = command.split() if isinstance(command, str) else list(command)
    flags: dict[str, str] = {}
    waiting = ""
    for word in words:
        if word.startswith("-"):
            name, sign, value = word.lstrip("-").partition("=")
            flags[name] = value if sign else "true"
            waiting = "" if sign else name
        elif waiting:
            flags[waiting] = word
            waiting = ""
    return flags


def split_address(address: str) -> tuple[str, int]:
    """Host and port of a listening address such as 192.168.16.5:9091, [fd00::5]:9091 or :9091. An unreadable one is an empty host and 0."""
    host, _sign, port = address.rpartition(":")
    return (host.strip("[]"), int(port)) if port.isdigit() else ("", 0)


def join_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_wildcard(host: str) -> bool:
    return host in ("", "0.0.0.0", "::")


def prometheus_url(flags: t.Mapping[str, str]) -> str:
    """The URL by which a Prometheus with these flags is reached from its own host, and not by a load balancer. Empty when they don't tell."""
    host, port = split_address(flags.get("web.listen-address", ""))
    if not port:
        return ""
    path = flags.get("web.route-prefix") or urllib.parse.urlsplit(flags.get("web.external-url", "")).path
    return f"http://{join_address('127.0.0.1' if is_wildcard(host) else host, port)}{path.rstrip('/')}"


def describe_container(inspected: t.Mapping[str, t.Any] | None) -> Facts:
    """Of what docker inspect says, the part that matters and holds no secret: neither environment nor arguments."""
    if not inspected:
        return {"found": False, "running": False, "status": "", "data_volume": "", "data_path": "", "kolla_config_path": "", "project": "", "checksum": ""}
    state, config, host_config = inspected.get("State") or {}, inspected.get("Config") or {}, inspected.get("HostConfig") or {}
    labels = config.get("Labels") or {}
    mounts = {mount.get("Destination"): mount for mount in inspected.get("Mounts") or []}
    data = mounts.get(DATA_PATH) or {}
    return {
        "found": True,
        "running": bool(state.get("Running")) and not state.get("Restarting"),
        "status": state.get("Status", ""),
        "image": config.get("Image", ""),
        "network_mode": host_config.get("NetworkMode", ""),
        "data_volume": data.get("Name", "") if data.get("Type") == "volume" else "",
        "data_path": data.get("Source", ""),
        "kolla_config_path": (mounts.get(KOLLA_CONFIG_PATH) or {}).get("Source", ""),
        "project": labels.get("com.docker.compose.project", ""),
        "checksum": labels.get(CHECKSUM_LABEL, ""),
    }


def listening_ports(inspected: t.Mapping[str, t.Any] | None) -> list[int]:
    """The host's ports that a sidecar's container listens on, by published ports or by its own arguments."""
    if not inspected:
        return []
    published = ((inspected.get("HostConfig") or {}).get("PortBindings") or {}).values()
    ports = {int(binding["HostPort"]) for bindings in published for binding in bindings or [] if str(binding.get("HostPort", "")).isdigit()}
    if (inspected.get("HostConfig") or {}).get("NetworkMode") == "host":
        flags = read_flags(inspected.get("Args") or [])
        ports |= {split_address(flags.get(name, ""))[1] for name in ("grpc-address", "http-address")} - {0}
    return sorted(ports)


def _scalar(text: str) -> str:
    text = text.strip()
    if text.startswith('"'):
        return str(json.loads(text))
    return text[1:-1].replace("''", "'") if text.startswith("'") else text


def _section(config: str, name: str) -> list[str]:
    """The lines below one top-level key of a configuration that Prometheus printed."""
    lines: list[str] = []
    inside = False
    for line in config.splitlines():
        if line and line[0] not in " -#":
            inside = line.startswith(f"{name}:")
        elif inside:
            lines.append(line)
    return lines


def external_labels(config: str) -> dict[str, str]:
    """The external labels of a configuration as Prometheus prints it at /api/v1/status/config: always block style, two spaces deep."""
    labels: dict[str, str] = {}
    inside = False
    for line in _section(config, "global"):
        if re.match(r" {2}\S", line):
            inside = line.rstrip() == "  external_labels:"
        elif inside:
            name, _sign, value = line.strip().partition(":")
            labels[_scalar(name)] = _scalar(value)
    return labels


def remote_writes(config: str) -> list[dict[str, str]]:
    """Name and URL of each remote write of such a configuration."""
    found: list[dict[str, str]] = []
    for line in _section(config, "remote_write"):
        if line.startswith("- "):
            found.append({"name": "", "url": ""})
        hit = re.match(r"(?:- | {2})(name|url): (.*)", line)
        if hit and found:
            found[-1][hit[1]] = _scalar(hit[2])
    return found


def samples(exposition: str, name: str) -> dict[str, float]:
    """The series of one metric in the text format: what stands between the braces, and the value."""
    found: dict[str, float] = {}
    for line in exposition.splitlines():
        hit = re.match(rf"{re.escape(name)}(?:\{{(.*)\}})? (\S+)", line)
        if hit:
            found[hit[1] or ""] = float(hit[2])
    return found


def variable_definitions(text: str, names: t.Sequence[str]) -> dict[str, str]:
    """Of a YAML file of variables the parts that define one of C(names) at its top, and nothing else, for such files hold secrets."""
    found: dict[str, str] = {}
    current = ""
    for line in text.splitlines():
        if re.match(r"[^\s#-]", line):
            current = line.partition(":")[0].strip("\"' ")
        if current in names:
            found[current] = found.get(current, "") + line + "\n"
    return found


# The host


def _inspect(run: Run, name: str) -> dict[str, t.Any] | None:
    status, output, _errors = run(["docker", "container", "inspect", name])
    return json.loads(output)[0] if status == 0 else None


def _get(url: str, username: str = "", password: str = "") -> tuple[int, str, str]:
    """Status, body and error; status 0 means that there was no answer. No proxy: what is asked is on this host."""
    try:
        answer = open_url(url, url_username=username or None, url_password=password or None, force_basic_auth=bool(username), use_proxy=False, timeout=TIMEOUT)
        return answer.getcode(), answer.read().decode(errors="replace"), ""
    except urllib.error.HTTPError as error:
        return error.code, "", f"HTTP {error.code}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return 0, "", str(getattr(error, "reason", error))


def look_at_engine(run: Run) -> Facts:
    """Docker and Compose, as far as they answer."""
    facts: Facts = {"docker": False, "error": "", "compose": "", "podman": bool(shutil.which("podman"))}
    if not shutil.which("docker"):
        return {**facts, "error": "there is no program docker"}
    status, _output, errors = run(["docker", "version", "--format", "{{.Server.Version}}"])
    if status:
        return {**facts, "error": errors.strip().splitlines()[-1] if errors.strip() else "docker does not answer"}
    facts["docker"] = True
    status, output, _errors = run(["docker", "compose", "version", "--short"])
    facts["compose"] = output.strip().lstrip("v") if status == 0 else ""
    return facts


def look_at_prometheus(run: Run, container: str, url: str, username: str, password: str) -> Facts:
    """The container, the command kolla gives it, and what its API says."""
    facts = describe_container(_inspect(run, container))
    facts["flags"] = {}
    if facts["kolla_config_path"]:
        with contextlib.suppress(OSError, ValueError):
            command = json.loads((pathlib.Path(facts["kolla_config_path"]) / "config.json").read_text(encoding="utf-8")).get("command", "")
            facts["flags"] = {name: value for name, value in read_flags(command).items() if name.startswith(("web.", "storage."))}
    if facts["data_path"]:
        with contextlib.suppress(OSError):
            status = pathlib.Path(facts["data_path"]).stat()
            facts["data_owner"] = [status.st_uid, status.st_gid]
    facts["url"] = url or prometheus_url(facts["flags"])
    facts["address"] = split_address(facts["flags"].get("web.listen-address", ""))[0]
    facts["url_is_own"] = is_own_address(urllib.parse.urlsplit(facts["url"]).hostname or "") if facts["url"] else False
    facts["api"] = ask_prometheus(facts["url"], username, password) if facts["url"] else {"status": 0, "error": "its address is not known"}
    return facts


def ask_prometheus(url: str, username: str, password: str) -> Facts:
    facts: Facts = {"status": 0, "error": "", "version": "", "external_labels": {}, "flags": {}, "remote_writes": [], "remote_write_samples": {}}
    bodies = {}
    for name in ("config", "flags", "buildinfo"):
        status, body, facts["error"] = _get(f"{url}/api/v1/status/{name}", username, password)
        if status != 200:
            return {**facts, "status": status}
        try:
            bodies[name] = json.loads(body)["data"]
        except (ValueError, KeyError, TypeError):
            return {**facts, "status": 200, "error": "the answer is not Prometheus's"}
    facts["external_labels"] = external_labels(bodies["config"]["yaml"])
    facts["remote_writes"] = [entry for entry in remote_writes(bodies["config"]["yaml"]) if entry["name"].startswith(REMOTE_NAME)]
    wanted = ("storage.tsdb.min-block-duration", "storage.tsdb.max-block-duration")
    facts["flags"] = {name: bodies["flags"].get(name, "") for name in wanted}
    facts["version"] = bodies["buildinfo"].get("version", "")
    if facts["remote_writes"]:
        _status, text, _error = _get(f"{url}/metrics", username, password)
        for key, metric in (("sent", "prometheus_remote_storage_samples_total"), ("failed", "prometheus_remote_storage_samples_failed_total")):
            found = {labels: value for labels, value in samples(text, metric).items() if f'remote_name="{REMOTE_NAME}' in labels}
            facts["remote_write_samples"][key] = sum(found.values())
    return {**facts, "status": 200}


def is_own_address(host: str) -> bool:
    """Whether this host has that address: a socket can be bound to it."""
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.bind(address)
    except OSError:
        return False
    return True


def is_port_taken(host: str, port: int) -> bool:
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        return "in use" in str(error)
    return False


def look_at_grpc(host: str, port: int) -> Facts:
    """What the sidecar's gRPC port says to one that has no certificate: its own certificate, and nothing more."""
    facts: Facts = {"reachable": False, "certificate_sha256": "", "refuses_strangers": False, "error": ""}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the certificate is compared with the one that was given
    context.set_alpn_protocols(["h2"])
    try:
        with socket.create_connection((host, port), TIMEOUT) as plain, context.wrap_socket(plain, server_hostname=host) as secured:
            facts["reachable"] = True
            facts["certificate_sha256"] = hashlib.sha256(secured.getpeercert(binary_form=True) or b"").hexdigest()
            # With TLS 1.3 the refusal comes as the first answer. A server that takes everybody sends its HTTP/2 settings.
            secured.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
            facts["refuses_strangers"] = not secured.recv(64)
    except ssl.SSLError as error:
        facts["refuses_strangers"] = facts["reachable"] and "CERTIFICATE_REQUIRED" in str(error).upper().replace(" ", "_")
        facts["error"] = "" if facts["refuses_strangers"] else str(error)
    except OSError as error:
        facts["error"] = str(error)
    return facts


def look_at_sidecar(run: Run, image: str, address: str, grpc_port: int, http_address: str, http_port: int) -> Facts:
    inspected = _inspect(run, PROJECT)
    facts = describe_container(inspected)
    own = listening_ports(inspected) if facts["found"] and facts["running"] else []
    wanted = ((address, grpc_port), (http_address, http_port))
    facts["taken_ports"] = [port for host, port in wanted if host and port not in own and is_port_taken(host, port)]
    facts["address_is_own"] = is_own_address(address) if address else False
    facts["image_present"] = run(["docker", "image", "inspect", "--format", "{{.Id}}", image])[0] == 0 if image else False
    by_project = ["--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}"]
    facts["containers"] = len(run(["docker", "ps", "--all", *by_project])[1].split())
    facts["networks"] = run(["docker", "network", "ls", "--format", "{{.Name}}", *by_project[1:]])[1].split()
    facts["ready"] = {"status": 0, "error": "it does not run"}
    facts["grpc"] = {"reachable": False, "error": "it does not run", "certificate_sha256": "", "refuses_strangers": False}
    if facts["found"] and facts["running"] and http_address:
        base = f"http://{join_address(http_address, http_port)}"
        status, _body, error = _get(f"{base}/-/ready")
        facts["ready"] = {"status": status, "error": error}
        _status, text, _error = _get(f"{base}/metrics")
        facts["prometheus_up"] = samples(text, "thanos_sidecar_prometheus_up").get("", 0) == 1
        facts["upload_failures"] = int(sum(samples(text, "thanos_shipper_upload_failures_total").values()))
        facts["grpc"] = look_at_grpc(address, grpc_port)
    return facts


def look_at_machine(run: Run, user: str, directory: str) -> Facts:
    """User, systemd and folder."""
    units = pathlib.Path("/etc/systemd/system")
    facts: Facts = {"user": True, "systemd": pathlib.Path("/run/systemd/system").is_dir(), "unit_template": "", "directory": pathlib.Path(directory).is_dir()}
    try:
        pwd.getpwnam(user)
    except KeyError:
        facts["user"] = False
    template = units / UNIT_TEMPLATE
    if template.exists():
        facts["unit_template"] = "own" if UNIT_MARK in template.read_text(encoding="utf-8", errors="replace") else "given"
    facts["unit_enabled"] = run(["systemctl", "is-enabled", "--quiet", UNIT])[0] == 0
    facts["unit_active"] = run(["systemctl", "is-active", "--quiet", UNIT])[0] == 0
    facts["other_units"] = sorted({path.name for path in units.glob("*.wants/docker-compose@*.service")} - {UNIT})
    facts["ca_bundle"] = next((path for path in CA_BUNDLES if pathlib.Path(path).exists()), "")
    return facts


def look_at_receive(url: str, certificate: str, private_key: str, authority: str, folder: str) -> Facts:
    """Whether the Observer's Receive lets this client in. An empty request: 400 means that it was let in, and nothing is stored."""
    with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".pem") as file:  # mode 0600; ssl takes files only
        file.write(f"{certificate.strip()}\n{private_key.strip()}\n")
        file.flush()
        parts = urllib.parse.urlsplit(url)
        try:
            context = ssl.create_default_context(cadata=authority)
            context.load_cert_chain(file.name)
            connection = http.client.HTTPSConnection(parts.hostname or "", parts.port or 443, timeout=TIMEOUT, context=context)
            connection.request("POST", parts.path or "/", body=b"", headers={"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"})
            status = connection.getresponse().status
            connection.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            return {"status": 0, "error": str(error)}
    return {"status": status, "error": ""}


def _parents(relative: str) -> list[str]:
    parts = relative.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def look_at_configuration(directory: str, own: t.Sequence[str]) -> Facts:
    """Of the configuration repository on the manager: whether it is one, and who else defines what the role has to set. C(own) are the role's files."""
    top = pathlib.Path(directory)
    facts: Facts = {"found": (top / "environments/kolla").is_dir(), "definitions": [], "own": {}}
    patterns = ("environments/*.yml", "environments/kolla/*.yml", "inventory/group_vars/**/*", "inventory/host_vars/**/*")
    for path in sorted({path for pattern in patterns for path in top.glob(pattern)}):
        relative = str(path.relative_to(top))
        if path.is_file() and relative not in own and not path.name.startswith("playbook-"):
            found = variable_definitions(path.read_text(encoding="utf-8", errors="replace"), WATCHED_VARIABLES)
            facts["definitions"] += [{"path": relative, "name": name, "text": text} for name, text in found.items()]
    facts["missing_folders"] = sorted({folder for relative in own for folder in _parents(relative) if not (top / folder).is_dir()})
    for relative in own:
        with contextlib.suppress(OSError):
            facts["own"][relative] = (top / relative).read_text(encoding="utf-8", errors="replace")
    return facts
