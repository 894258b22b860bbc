"""A double of the OpenStack APIs, for tests where no cloud can be had. It is not OpenStack: it keeps everything in memory, and starts no machine.

    python tests/openstack_double [--port 5000] [--build-seconds 0.3] [--page 2] [--external 127.88.0.0/24]

It prints its address on the first line. Below it lie /identity (Keystone v3), /compute (Nova 2.1 to 2.96), /network (Neutron), /image (Glance v2),
/volume and /placement (what an exporter reads). openstacksdk is its client as it is; the shapes are those of the API references. It imitates what bites:
servers that take time to start and to go, or fail; deletion of what is in use (409), quotas (403 of Nova, 409 of Neutron), pages, names that are there twice,
addresses that Neutron writes in its own way, access rules of application credentials. Below /_double lie its own controls:

    GET    /_double/log        the requests so far, as "METHOD /path?query"
    DELETE /_double/log        forget them
    GET    /_double/state      everything that there is
    POST   /_double/add        {collection, item}: somebody else makes something, without any check
    POST   /_double/change     {collection, id, item}: somebody else changes something
    DELETE /_double/C/ID       somebody else deletes something of the collection C
    POST   /_double/quota      {floatingips: 0, servers: 0, ...}: how many there may be
    POST   /_double/settings   {build_seconds, build_status, delete_seconds, page}
    POST   /_double/faults     [{method, path (regex), status, body, times}]: refused and broken answers
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import re
import secrets
import socket
import time
import typing as t
import uuid

import fastapi
import uvicorn

Json = dict[str, t.Any]
PROJECT, USER, DOMAIN = "a" * 32, "b" * 32, "default"
PASSWORD = "password-of-the-double"
EXTERNAL = "public"
STAMP = "2026-11-21T12:00:00Z"
MICROVERSION = "2.96"


class Refused(Exception):
    def __init__(self, status: int, body: Json) -> None:
        self.status, self.body = status, body


def nova_error(status: int, message: str) -> Refused:
    kinds = {400: "badRequest", 403: "forbidden", 404: "itemNotFound", 409: "conflictingRequest"}
    return Refused(status, {kinds[status]: {"code": status, "message": message}})


def neutron_error(status: int, kind: str, message: str) -> Refused:
    return Refused(status, {"NeutronError": {"type": kind, "message": message, "detail": ""}})


def keystone_error(status: int, title: str, message: str) -> Refused:
    return Refused(status, {"error": {"code": status, "title": title, "message": message}})


def standard(revision: int = 1) -> Json:
    """What Neutron says of each of its resources."""
    return {"tags": [], "project_id": PROJECT, "tenant_id": PROJECT, "revision_number": revision, "created_at": STAMP, "updated_at": STAMP}


class Cloud:
    """All that there is."""

    def __init__(self, url: str, options: argparse.Namespace) -> None:
        self.url = url
        self.log: list[str] = []
        self.faults: list[Json] = []
        self.quota: dict[str, int] = {}
        self.settings: Json = {"build_seconds": options.build_seconds, "build_status": "ACTIVE", "delete_seconds": options.build_seconds, "page": options.page}
        self.tokens: dict[str, Json] = {}
        self.credentials: dict[str, Json] = {}
        names = (
            "networks",
            "subnets",
            "ports",
            "routers",
            "security_groups",
            "security_group_rules",
            "floatingips",
            "servers",
            "keypairs",
            "flavors",
            "images",
        )
        self.all: dict[str, dict[str, Json]] = {name: {} for name in names}
        self._fill(options.external)

    def _fill(self, external: str) -> None:
        for name, cores, memory, disk in (("SCS-2V-4-20s", 2, 4096, 20), ("SCS-4V-16-50", 4, 16384, 50), ("SCS-4V-16", 4, 16384, 0), ("SCS-1L-1", 1, 1024, 0)):
            self.add("flavors", {"name": name, "vcpus": cores, "ram": memory, "disk": disk})
        for name in ("Debian 12", "Ubuntu 22.04", "Ubuntu 24.04"):
            self.add("images", {"name": name, "status": "active", "visibility": "public", "min_disk": 10, "size": 2 << 30, "owner": "c" * 32, "tags": []})
        public = self.add("networks", {**new_network({"name": EXTERNAL, "shared": True}), "router:external": True, "project_id": "c" * 32})
        self.add("subnets", new_subnet({"name": "public-subnet", "network_id": public["id"], "cidr": external}))
        self.default_group = self.security_group({"name": "default", "description": "Default security group"})["id"]

    def add(self, collection: str, item: Json) -> Json:
        item = {"id": str(uuid.uuid4()), **item}
        self.all[collection][item["id"]] = item
        return item

    def check_quota(self, collection: str) -> int | None:
        """How many there may be, where that is reached."""
        limit = self.quota.get(collection)
        return limit if limit is not None and len(self.all[collection]) >= limit else None

    def security_group(self, given: Json) -> Json:
        group = self.add(
            "security_groups",
            {
                "name": given["name"],
                "description": given.get("description", ""),
                "stateful": True,
                **standard(),
            },
        )
        for ethertype in ("IPv4", "IPv6"):
            self.rule({"security_group_id": group["id"], "direction": "egress", "ethertype": ethertype})
        return group

    def rule(self, given: Json) -> Json:
        rule = {
            "direction": given["direction"],
            "ethertype": given.get("ethertype", "IPv4"),
            "protocol": given.get("protocol"),
            "port_range_min": given.get("port_range_min"),
            "port_range_max": given.get("port_range_max"),
            "remote_ip_prefix": given.get("remote_ip_prefix") and str(ipaddress.ip_network(given["remote_ip_prefix"], strict=False)),
            "remote_group_id": given.get("remote_group_id"),
            "remote_address_group_id": None,
            "normalized_cidr": None,
            "belongs_to_default_sg": False,
            "security_group_id": given["security_group_id"],
        }
        for other in self.all["security_group_rules"].values():
            if all(other[key] == value for key, value in rule.items()):
                raise neutron_error(409, "SecurityGroupRuleExists", f"Security group rule already exists. Rule id is {other['id']}.")
        return self.add("security_group_rules", {**rule, "description": given.get("description", ""), **standard(0)})

    # addresses

    def address(self, subnet: Json) -> str:
        taken = {fixed["ip_address"] for port in self.all["ports"].values() for fixed in port["fixed_ips"] if fixed["subnet_id"] == subnet["id"]}
        taken |= {ip["floating_ip_address"] for ip in self.all["floatingips"].values() if ip["floating_network_id"] == subnet["network_id"]}
        pool = subnet["allocation_pools"][0]
        start, end = ipaddress.ip_address(pool["start"]), ipaddress.ip_address(pool["end"])
        for number in range(int(start), int(end) + 1):
            if str(ipaddress.ip_address(number)) not in taken:
                return str(ipaddress.ip_address(number))
        raise neutron_error(409, "IpAddressGenerationFailure", f"No more IP addresses available on network {subnet['network_id']}.")

    def subnets_of(self, network: str) -> list[Json]:
        return [subnet for subnet in self.all["subnets"].values() if subnet["network_id"] == network]

    def gateway_router(self, subnet: str, external: str) -> Json | None:
        """The router that joins a subnet with the external network."""
        for port in self.all["ports"].values():
            if port["device_owner"] == "network:router_interface" and any(fixed["subnet_id"] == subnet for fixed in port["fixed_ips"]):
                router = self.all["routers"][port["device_id"]]
                if (router["external_gateway_info"] or {}).get("network_id") == external:
                    return router
        return None


def new_network(given: Json) -> Json:
    return {
        "name": given.get("name", ""),
        "description": given.get("description", ""),
        "admin_state_up": given.get("admin_state_up", True),
        "status": "ACTIVE",
        "subnets": [],
        "shared": given.get("shared", False),
        "router:external": False,
        "mtu": 1450,
        "port_security_enabled": given.get("port_security_enabled", True),
        "availability_zones": ["nova"],
        "availability_zone_hints": [],
        "is_default": False,
        "dns_domain": "",
        "ipv4_address_scope": None,
        "ipv6_address_scope": None,
        **standard(),
    }


def new_subnet(given: Json) -> Json:
    network = ipaddress.ip_network(given["cidr"])
    gateway = given.get("gateway_ip") or str(network[1])
    pools = [{"start": str(network[2]), "end": str(network[-2])}]
    return {
        "name": given.get("name", ""),
        "description": given.get("description", ""),
        "network_id": given["network_id"],
        "cidr": str(network),
        "ip_version": given.get("ip_version", 4),
        "gateway_ip": gateway,
        "enable_dhcp": given.get("enable_dhcp", True),
        "dns_nameservers": given.get("dns_nameservers", []),
        "allocation_pools": given.get("allocation_pools") or pools,
        "host_routes": [],
        "ipv6_ra_mode": None,
        "ipv6_address_mode": None,
        "subnetpool_id": None,
        "service_types": [],
        "dns_publish_fixed_ip": False,
        **standard(0),
    }


app = fastapi.FastAPI()
cloud: Cloud


@app.exception_handler(Refused)
async def refused(_request: fastapi.Request, error: Refused) -> fastapi.Response:
    return fastapi.responses.JSONResponse(error.body, error.status)


@app.middleware("http")
async def gate(request: fastapi.Request, call_next: t.Callable[[fastapi.Request], t.Awaitable[fastapi.Response]]) -> fastapi.Response:
    """Writes the log, answers as a fault says, and lets nobody in without a token."""
    path = request.url.path
    if path.startswith("/_double"):
        return await call_next(request)
    cloud.log.append(f"{request.method} {path}{'?' + request.url.query if request.url.query else ''}")
    for fault in cloud.faults:
        if fault["method"] == request.method and re.search(fault["path"], path) and fault.get("times", 1) > 0:
            fault["times"] = fault.get("times", 1) - 1
            return fastapi.responses.JSONResponse(fault["body"], fault["status"])
    service, _slash, rest = path.strip("/").partition("/")
    public = ("/" not in rest.strip("/") and rest != "resource_providers") or (request.method == "POST" and rest == "v3/auth/tokens")
    if public:
        return await call_next(request)
    token = cloud.tokens.get(request.headers.get("X-Auth-Token", ""))
    if token is None:
        return fastapi.responses.JSONResponse(
            {"error": {"code": 401, "title": "Unauthorized", "message": "The request you have made requires authentication."}}, 401
        )
    rules = token["access_rules"]
    if rules is not None and not any(rule_allows(rule, service, request.method, f"/{rest}") for rule in rules):
        return fastapi.responses.JSONResponse(
            {"error": {"code": 401, "title": "Unauthorized", "message": "Access rules of the credential do not allow this."}}, 401
        )
    request.state.token = token
    return await call_next(request)


TYPES = {"identity": "identity", "compute": "compute", "network": "network", "image": "image", "volume": "volumev3", "placement": "placement"}


def rule_allows(rule: Json, service: str, method: str, path: str) -> bool:
    """As keystonemiddleware compares: ** is anything, * and {name} are one part of the path."""
    wanted = re.sub(r"\\\*\\\*", ".*", re.escape(re.sub(r"\{[^}]*\}", "*", rule["path"])))
    wanted = re.sub(r"\\\*", "[^/]+", wanted)
    return rule["service"] == TYPES[service] and rule["method"] == method and re.fullmatch(wanted, path) is not None


# Keystone


@app.get("/identity")
@app.get("/identity/")
async def identity_versions() -> fastapi.Response:
    return fastapi.responses.JSONResponse({"versions": {"values": [identity_version()]}}, 300)


def identity_version() -> Json:
    links = [{"rel": "self", "href": f"{cloud.url}/identity/v3/"}]
    media = [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}]
    return {"id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z", "links": links, "media-types": media}


@app.get("/identity/v3")
@app.get("/identity/v3/")
async def identity_v3() -> Json:
    return {"version": identity_version()}


def catalog() -> list[Json]:
    paths = {
        "identity": ("keystone", "/identity"),
        "compute": ("nova", "/compute/v2.1"),
        "network": ("neutron", "/network"),
        "image": ("glance", "/image"),
        "volumev3": ("cinderv3", f"/volume/v3/{PROJECT}"),
        "placement": ("placement", "/placement"),
    }
    return [
        {
            "id": uuid.uuid5(uuid.NAMESPACE_DNS, kind).hex,
            "type": kind,
            "name": name,
            "endpoints": [
                {"id": uuid.uuid4().hex, "interface": interface, "region": "RegionOne", "region_id": "RegionOne", "url": cloud.url + path}
                for interface in ("public", "internal", "admin")
            ],
        }
        for kind, (name, path) in paths.items()
    ]


@app.post("/identity/v3/auth/tokens")
async def authenticate(body: Json) -> fastapi.Response:
    identity = body["auth"]["identity"]
    (method,) = identity["methods"]
    roles, rules, credential = ["admin", "member", "reader"], None, None
    if method == "password":
        user = identity["password"]["user"]
        if user.get("password") != PASSWORD or (user.get("name", "demo"), user.get("id", USER)) != ("demo", USER):
            raise keystone_error(401, "Unauthorized", "The request you have made requires authentication.")
    elif method == "application_credential":
        given = identity["application_credential"]
        credential = cloud.credentials.get(given.get("id", ""))
        if credential is None or credential["secret"] != given.get("secret"):
            raise keystone_error(401, "Unauthorized", "The request you have made requires authentication.")
        roles, rules = [role["name"] for role in credential["roles"]], credential["access_rules"]
    else:
        raise keystone_error(401, "Unauthorized", f"Method {method} is not supported.")
    token = {
        "methods": [method],
        "user": {"id": USER, "name": "demo", "domain": {"id": DOMAIN, "name": "Default"}, "password_expires_at": None},
        "project": {"id": PROJECT, "name": "demo", "domain": {"id": DOMAIN, "name": "Default"}},
        "is_domain": False,
        "roles": [{"id": role_id(name), "name": name} for name in roles],
        "catalog": catalog(),
        "audit_ids": [secrets.token_urlsafe(16)],
        "issued_at": "2026-11-21T12:00:00.000000Z",
        "expires_at": "2096-11-21T12:00:00.000000Z",
    }
    if credential:
        token["application_credential"] = {"id": credential["id"], "name": credential["name"], "restricted": not credential["unrestricted"]}
    key = secrets.token_urlsafe(60)
    cloud.tokens[key] = {"token": token, "access_rules": rules or None, "roles": roles, "restricted": bool(credential and not credential["unrestricted"])}
    return fastapi.responses.JSONResponse({"token": token}, 201, headers={"X-Subject-Token": key})


def role_id(name: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_DNS, f"role-{name}").hex


def shown_credential(credential: Json, *, secret: bool = False) -> Json:
    return {key: value for key, value in credential.items() if secret or key != "secret"}


@app.get("/identity/v3/users/{user}/application_credentials")
async def list_credentials(user: str, name: str | None = None) -> Json:
    found = [shown_credential(item) for item in cloud.credentials.values() if user == USER and name in (None, item["name"])]
    return {"application_credentials": found, "links": {"self": "", "previous": None, "next": None}}


@app.get("/identity/v3/users/{user}/application_credentials/{key}")
async def get_credential(user: str, key: str) -> Json:
    if user != USER or key not in cloud.credentials:
        raise keystone_error(404, "Not Found", f"Could not find Application Credential: {key}.")
    return {"application_credential": shown_credential(cloud.credentials[key])}


@app.post("/identity/v3/users/{user}/application_credentials", status_code=201)
async def create_credential(user: str, body: Json, request: fastapi.Request) -> Json:
    given, token = body["application_credential"], request.state.token
    if user != USER or token["restricted"]:
        raise keystone_error(403, "Forbidden", "You are not authorized to perform the requested action: identity:create_application_credential.")
    if any(item["name"] == given["name"] for item in cloud.credentials.values()):
        raise keystone_error(
            409, "Conflict", f"Conflict occurred attempting to store application_credential - Duplicate entry found with name {given['name']}."
        )
    roles = [role.get("name") for role in given.get("roles") or [{"name": name} for name in token["roles"]]]
    if missing := [name for name in roles if name not in token["roles"]]:
        raise keystone_error(
            400, "Bad Request", f"Could not find role assignment with role: {missing[0]}, user or group: {USER}, project, domain, or system: {PROJECT}."
        )
    credential = {
        "id": uuid.uuid4().hex,
        "name": given["name"],
        "description": given.get("description"),
        "secret": given.get("secret") or secrets.token_urlsafe(64),
        "unrestricted": given.get("unrestricted", False),
        "roles": [{"id": role_id(name), "name": name} for name in roles],
        "access_rules": [{"id": uuid.uuid4().hex, **rule} for rule in given.get("access_rules") or []],
        "expires_at": given.get("expires_at"),
        "project_id": PROJECT,
        "user_id": USER,
        "system": None,
    }
    cloud.credentials[credential["id"]] = credential
    return {"application_credential": shown_credential(credential, secret=True)}


@app.delete("/identity/v3/users/{user}/application_credentials/{key}", status_code=204)
async def delete_credential(user: str, key: str) -> None:
    if user != USER or cloud.credentials.pop(key, None) is None:
        raise keystone_error(404, "Not Found", f"Could not find Application Credential: {key}.")


@app.get("/identity/v3/{kind}")
async def list_identity(kind: str) -> Json:
    known: dict[str, list[Json]] = {
        "projects": [
            {"id": PROJECT, "name": "demo", "domain_id": DOMAIN, "enabled": True, "parent_id": DOMAIN, "is_domain": False, "description": "", "tags": []}
        ],
        "domains": [{"id": DOMAIN, "name": "Default", "enabled": True, "description": ""}],
        "users": [{"id": USER, "name": "demo", "domain_id": DOMAIN, "enabled": True}],
        "groups": [],
        "regions": [{"id": "RegionOne", "description": "", "parent_region_id": None}],
    }
    if kind not in known:
        raise keystone_error(404, "Not Found", f"(http://...): The resource could not be found: {kind}.")
    return {kind: known[kind], "links": {"self": "", "previous": None, "next": None}}


# Neutron


@app.get("/network")
@app.get("/network/")
async def network_versions() -> Json:
    return {"versions": [{"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": f"{cloud.url}/network/v2.0/"}]}]}


@app.get("/network/v2.0")
@app.get("/network/v2.0/")
async def network_v2() -> Json:
    return {"resources": []}


SINGULAR = {
    "networks": "network",
    "subnets": "subnet",
    "ports": "port",
    "routers": "router",
    "security_groups": "security_group",
    "security_group_rules": "security_group_rule",
    "floatingips": "floatingip",
}


def collection(path: str) -> str:
    name = path.replace("-", "_")
    if name not in SINGULAR:
        raise Refused(404, {"message": f"The resource {path} could not be found."})
    return name


def found(name: str, key: str) -> Json:
    item = cloud.all[name].get(key)
    if item is None:
        kind = "".join(part.title() for part in SINGULAR[name].split("_"))
        raise neutron_error(404, f"{kind}NotFound", f"{kind} {key} could not be found.")
    return item


def shown(name: str, item: Json) -> Json:
    if name == "networks":
        return {**item, "subnets": [subnet["id"] for subnet in cloud.subnets_of(item["id"])]}
    if name == "security_groups":
        return {**item, "security_group_rules": [rule for rule in cloud.all["security_group_rules"].values() if rule["security_group_id"] == item["id"]]}
    if name == "floatingips":
        port = cloud.all["ports"].get(item["port_id"] or "")
        details = port and {key: port[key] for key in ("name", "network_id", "mac_address", "admin_state_up", "status", "device_id", "device_owner")}
        return {**item, "port_details": details}
    return item


FIXED = {"agents", "quotas", "extensions", "network-ip-availabilities", "subnetpools"}


@app.get("/network/v2.0/{path}")
async def list_network(path: str, request: fastapi.Request) -> Json:
    if path in FIXED:
        return fixed_network(path)
    name = collection(path)
    query = request.query_params
    items = [item for item in (shown(name, item) for item in cloud.all[name].values()) if matches(item, query)]
    limit = min(int(query.get("limit") or 1000), cloud.settings["page"])
    if marker := query.get("marker"):
        items = items[[item["id"] for item in items].index(marker) + 1 :]
    answer: Json = {name: items[:limit]}
    if len(items) > limit:
        pairs = [f"{key}={value}" for key, value in query.multi_items() if key != "marker"]
        href = f"{cloud.url}{request.url.path}?{'&'.join([*pairs, 'marker=' + items[limit - 1]['id']])}"
        answer[f"{name}_links"] = [{"rel": "next", "href": href}]
    return answer


def matches(item: Json, query: t.Any) -> bool:
    for key, value in query.multi_items():
        if key in ("limit", "marker", "sort_key", "sort_dir", "fields", "page_reverse"):
            continue
        if key == "fixed_ips":
            kind, _equals, wanted = value.partition("=")
            if not any(fixed.get(kind) == wanted for fixed in item["fixed_ips"]):
                return False
        elif str(item.get(key)).lower() != str(value).lower():
            return False
    return True


def fixed_network(path: str) -> Json:
    if path == "agents":
        agents = [("Open vSwitch agent", "neutron-openvswitch-agent", "node-0", True), ("DHCP agent", "neutron-dhcp-agent", "node-1", False)]
        return {
            "agents": [
                {
                    "id": uuid.uuid5(uuid.NAMESPACE_DNS, binary).hex,
                    "agent_type": kind,
                    "binary": binary,
                    "host": host,
                    "alive": alive,
                    "admin_state_up": True,
                    "availability_zone": "nova",
                    "topic": "N/A",
                    "description": None,
                    "configurations": {},
                    "heartbeat_timestamp": "2026-11-21 12:00:00",
                    "started_at": "2026-11-21 10:00:00",
                    "created_at": "2026-11-21 10:00:00",
                }
                for kind, binary, host, alive in agents
            ]
        }
    if path == "network-ip-availabilities":
        return {
            "network_ip_availabilities": [
                {
                    "network_id": network["id"],
                    "network_name": network["name"],
                    "project_id": network["project_id"],
                    "tenant_id": network["project_id"],
                    "total_ips": 253,
                    "used_ips": 3,
                    "subnet_ip_availability": [
                        {"subnet_id": item["id"], "subnet_name": item["name"], "cidr": item["cidr"], "ip_version": 4, "total_ips": 253, "used_ips": 3}
                        for item in cloud.subnets_of(network["id"])
                    ],
                }
                for network in cloud.all["networks"].values()
            ]
        }
    return {path: []}


@app.get("/network/v2.0/{path}/{key}")
async def get_network(path: str, key: str) -> Json:
    if path == "extensions":
        raise Refused(404, {"NeutronError": {"type": "ExtensionNotFound", "message": f"Extension with alias {key} does not exist", "detail": ""}})
    name = collection(path)
    return {SINGULAR[name]: shown(name, found(name, key))}


@app.get("/network/v2.0/routers/{key}/l3-agents")
async def l3_agents(key: str) -> Json:
    found("routers", key)
    return {"agents": []}


@app.post("/network/v2.0/{path}", status_code=201)
async def create_network(path: str, body: Json) -> Json:
    name = collection(path)
    if name in body:
        return {name: [make(name, given) for given in body[name]]}
    return {SINGULAR[name]: shown(name, make(name, body[SINGULAR[name]]))}


def make(name: str, given: Json) -> Json:
    if cloud.check_quota(name) is not None:
        raise neutron_error(409, "OverQuota", f"Quota exceeded for resources: ['{SINGULAR[name]}'].")
    return MAKERS[name](given)


def make_subnet(given: Json) -> Json:
    found("networks", given["network_id"])
    try:
        wanted = ipaddress.ip_network(given["cidr"])
    except ValueError as error:
        raise neutron_error(400, "HTTPBadRequest", f"Invalid input for cidr. Reason: '{given['cidr']}' is not a valid IP subnet.") from error
    for other in cloud.subnets_of(given["network_id"]):
        if wanted.overlaps(ipaddress.ip_network(other["cidr"])):
            message = f"Requested subnet with cidr: {wanted} for network: {given['network_id']} overlaps with another subnet."
            raise neutron_error(400, "InvalidInput", f"Invalid input for operation: {message}")
    return cloud.add("subnets", new_subnet(given))


def make_port(given: Json) -> Json:
    network = found("networks", given["network_id"])
    fixed_ips = []
    for subnet in cloud.subnets_of(network["id"])[:1]:
        fixed_ips = [{"subnet_id": subnet["id"], "ip_address": cloud.address(subnet)}]
    groups = given.get("security_groups")
    for group in groups or []:
        found("security_groups", group)
    return cloud.add(
        "ports",
        {
            "name": given.get("name", ""),
            "description": given.get("description", ""),
            "network_id": network["id"],
            "admin_state_up": True,
            "status": "DOWN",
            "mac_address": "fa:16:3e:" + ":".join(f"{secrets.randbelow(256):02x}" for _number in range(3)),
            "fixed_ips": given.get("fixed_ips") or fixed_ips,
            "security_groups": [cloud.default_group] if groups is None else groups,
            "device_id": given.get("device_id", ""),
            "device_owner": given.get("device_owner", ""),
            "binding:vnic_type": "normal",
            "binding:vif_type": "ovs",
            "allowed_address_pairs": [],
            "extra_dhcp_opts": [],
            "port_security_enabled": True,
            **standard(),
        },
    )


def make_router(given: Json) -> Json:
    router = cloud.add(
        "routers",
        {
            "name": given.get("name", ""),
            "description": given.get("description", ""),
            "admin_state_up": given.get("admin_state_up", True),
            "status": "ACTIVE",
            "external_gateway_info": None,
            "routes": [],
            "ha": False,
            "distributed": False,
            "availability_zones": [],
            "availability_zone_hints": [],
            "flavor_id": None,
            **standard(),
        },
    )
    if given.get("external_gateway_info"):
        set_gateway(router, given["external_gateway_info"])
    return router


def set_gateway(router: Json, given: Json) -> None:
    network = found("networks", given["network_id"])
    if not network["router:external"]:
        raise neutron_error(400, "BadRequest", f"Bad router request: Network {network['id']} is not an external network.")
    if (router["external_gateway_info"] or {}).get("network_id") == network["id"]:
        return
    port = make_port({"network_id": network["id"], "device_id": router["id"], "device_owner": "network:router_gateway", "security_groups": []})
    router["external_gateway_info"] = {"network_id": network["id"], "enable_snat": True, "external_fixed_ips": port["fixed_ips"]}


def make_floating_ip(given: Json) -> Json:
    network = found("networks", given["floating_network_id"])
    if not network["router:external"]:
        raise neutron_error(400, "BadRequest", f"Bad floatingip request: Network {network['id']} is not a valid external network.")
    (subnet, *_others) = cloud.subnets_of(network["id"])
    item: Json = {
        "floating_ip_address": cloud.address(subnet),
        "floating_network_id": network["id"],
        "description": given.get("description", ""),
        "fixed_ip_address": None,
        "port_id": None,
        "router_id": None,
        "status": "DOWN",
        "dns_name": "",
        "dns_domain": "",
        "qos_policy_id": None,
        **standard(),
    }
    if given.get("port_id"):
        associate(item, given["port_id"])
    return cloud.add("floatingips", item)


def associate(item: Json, key: str | None) -> None:
    if key is None:
        item.update(port_id=None, fixed_ip_address=None, router_id=None, status="DOWN")
        return
    port = found("ports", key)
    if any(other["port_id"] == key and other is not item for other in cloud.all["floatingips"].values()):
        message = f"Cannot associate floating IP with port {key}, as that fixed IP already has a floating IP on external network {item['floating_network_id']}."
        raise neutron_error(409, "FloatingIPPortAlreadyAssociated", message)
    (fixed, *_others) = port["fixed_ips"]
    router = cloud.gateway_router(fixed["subnet_id"], item["floating_network_id"])
    if router is None:
        message = f"External network {item['floating_network_id']} is not reachable from subnet {fixed['subnet_id']}. Therefore, cannot associate Port {key}."
        raise neutron_error(404, "ExternalGatewayForFloatingIPNotFound", message)
    item.update(port_id=key, fixed_ip_address=fixed["ip_address"], router_id=router["id"], status="ACTIVE")


def make_security_group(given: Json) -> Json:
    return cloud.security_group(given)


def make_security_group_rule(given: Json) -> Json:
    return cloud.rule(given)


MAKERS: dict[str, t.Callable[[Json], Json]] = {
    "networks": lambda given: cloud.add("networks", new_network(given)),
    "subnets": make_subnet,
    "ports": make_port,
    "routers": make_router,
    "security_groups": make_security_group,
    "security_group_rules": make_security_group_rule,
    "floatingips": make_floating_ip,
}


@app.put("/network/v2.0/routers/{key}/{action}_router_interface")
async def router_interface(key: str, action: str, body: Json) -> Json:
    router = found("routers", key)
    if action == "add":
        subnet = found("subnets", body["subnet_id"])
        if any(port["device_id"] == key and port["fixed_ips"][0]["subnet_id"] == subnet["id"] for port in cloud.all["ports"].values() if port["fixed_ips"]):
            raise neutron_error(400, "BadRequest", f"Bad router request: Router already has a port on subnet {subnet['id']}.")
        fixed = [{"subnet_id": subnet["id"], "ip_address": subnet["gateway_ip"]}]
        owner = {"device_id": key, "device_owner": "network:router_interface", "security_groups": [], "fixed_ips": fixed}
        port = make_port({"network_id": subnet["network_id"], **owner})
        port["status"] = "ACTIVE"
    else:
        wanted = body.get("port_id"), body.get("subnet_id")
        ports = [port for port in cloud.all["ports"].values() if port["device_id"] == key and port["device_owner"] == "network:router_interface"]
        chosen = [port for port in ports if port["id"] == wanted[0] or port["fixed_ips"][0]["subnet_id"] == wanted[1]]
        if not chosen:
            raise neutron_error(404, "RouterInterfaceNotFound", f"Router {key} does not have an interface with id {wanted[0] or wanted[1]}")
        port = chosen[0]
        subnet_id = port["fixed_ips"][0]["subnet_id"]
        for item in cloud.all["floatingips"].values():
            inside = cloud.all["ports"].get(item["port_id"] or "")
            if item["router_id"] == key and inside and inside["fixed_ips"][0]["subnet_id"] == subnet_id:
                message = f"Router interface for subnet {subnet_id} on router {key} cannot be deleted, as it is required by one or more floating IPs."
                raise neutron_error(409, "RouterInterfaceInUseByFloatingIP", message)
        del cloud.all["ports"][port["id"]]
    return {
        "id": router["id"],
        "network_id": port["network_id"],
        "port_id": port["id"],
        "subnet_id": port["fixed_ips"][0]["subnet_id"],
        "subnet_ids": [port["fixed_ips"][0]["subnet_id"]],
        "project_id": PROJECT,
        "tenant_id": PROJECT,
        "tags": [],
    }


@app.put("/network/v2.0/{path}/{key}")
async def update_network(path: str, key: str, body: Json) -> Json:
    name = collection(path)
    item, given = found(name, key), body[SINGULAR[name]]
    if name == "floatingips" and "port_id" in given:
        associate(item, given.pop("port_id"))
    if name == "routers" and given.get("external_gateway_info"):
        set_gateway(item, given.pop("external_gateway_info"))
    item.update(given)
    return {SINGULAR[name]: shown(name, item)}


@app.put("/network/v2.0/{path}/{key}/tags")
async def set_tags(path: str, key: str, body: Json) -> Json:
    found(collection(path), key)["tags"] = body["tags"]
    return {"tags": body["tags"]}


@app.delete("/network/v2.0/{path}/{key}", status_code=204)
async def delete_network(path: str, key: str) -> None:
    name = collection(path)
    found(name, key)
    ports = cloud.all["ports"].values()
    if name == "networks":
        if any(port["network_id"] == key for port in ports):
            message = f"Unable to complete operation on network {key}. There are one or more ports still in use on the network."
            raise neutron_error(409, "NetworkInUse", message)
        for subnet in cloud.subnets_of(key):
            del cloud.all["subnets"][subnet["id"]]
    elif name == "subnets" and any(fixed["subnet_id"] == key for port in ports for fixed in port["fixed_ips"]):
        raise neutron_error(409, "SubnetInUse", f"Unable to complete operation on subnet {key}: One or more ports have an IP allocation from this subnet.")
    elif name == "routers":
        if any(port["device_id"] == key and port["device_owner"] == "network:router_interface" for port in ports):
            raise neutron_error(409, "RouterInUse", f"Router {key} still has ports")
        for port in [port for port in ports if port["device_id"] == key]:
            del cloud.all["ports"][port["id"]]
    elif name == "ports":
        if cloud.all["ports"][key]["device_owner"].startswith("network:router"):
            raise neutron_error(409, "ServicePortInUse", f"Port {key} cannot be deleted directly via the port API: has device owner network:router_interface.")
        for item in cloud.all["floatingips"].values():
            if item["port_id"] == key:
                associate(item, None)
    elif name == "security_groups":
        if any(key in port["security_groups"] for port in ports):
            raise neutron_error(409, "SecurityGroupInUse", f"Security Group {key} in use.")
        rules = cloud.all["security_group_rules"]
        for rule in [rule for rule in rules.values() if rule["security_group_id"] == key]:
            del rules[rule["id"]]
    del cloud.all[name][key]


# Nova


@app.get("/compute")
@app.get("/compute/")
async def compute_versions() -> Json:
    return {"versions": [compute_version()]}


def compute_version() -> Json:
    links = [{"rel": "self", "href": f"{cloud.url}/compute/v2.1/"}]
    return {"id": "v2.1", "status": "CURRENT", "version": MICROVERSION, "min_version": "2.1", "updated": "2013-07-23T11:33:21Z", "links": links}


@app.get("/compute/v2.1")
@app.get("/compute/v2.1/")
async def compute_v21() -> Json:
    return {"version": compute_version()}


def version(request: fastapi.Request) -> tuple[int, int]:
    asked = request.headers.get("OpenStack-API-Version", "").removeprefix("compute ") or request.headers.get("X-OpenStack-Nova-API-Version", "2.1")
    (major, minor) = (MICROVERSION if asked == "latest" else asked).split(".")
    if (int(major), int(minor)) > tuple(int(part) for part in MICROVERSION.split(".")):
        raise Refused(
            406, {"computeFault": {"code": 406, "message": f"Version {asked} is not supported by the API. Minimum is 2.1 and maximum is {MICROVERSION}."}}
        )
    return int(major), int(minor)


def settle(server: Json) -> Json | None:
    """The server as time has made it; None when it is gone."""
    now = time.monotonic()
    if server["gone_at"] is not None and now >= server["gone_at"]:
        for port in [port for port in cloud.all["ports"].values() if port["device_id"] == server["id"]]:
            # a port that the user made stays
            if port["id"] in server["own_ports"]:
                port.update(device_id="", device_owner="", status="DOWN")
            else:
                del cloud.all["ports"][port["id"]]
        del cloud.all["servers"][server["id"]]
        return None
    if server["status"] == "BUILD" and now >= server["ready_at"]:
        server["status"] = server["build_status"]
        for port in cloud.all["ports"].values():
            if port["device_id"] == server["id"]:
                port["status"] = "ACTIVE"
    return server


def the_server(key: str) -> Json:
    server = cloud.all["servers"].get(key)
    if server is None or settle(server) is None:
        raise nova_error(404, f"Instance {key} could not be found.")
    return server


def shown_server(server: Json, request: fastapi.Request) -> Json:
    asked = version(request)
    addresses: dict[str, list[Json]] = {}
    for port in cloud.all["ports"].values():
        if port["device_id"] != server["id"]:
            continue
        entries = addresses.setdefault(cloud.all["networks"][port["network_id"]]["name"], [])
        mac = {"OS-EXT-IPS-MAC:mac_addr": port["mac_address"], "version": 4}
        entries += [{"addr": fixed["ip_address"], "OS-EXT-IPS:type": "fixed", **mac} for fixed in port["fixed_ips"]]
        floating = [ip["floating_ip_address"] for ip in cloud.all["floatingips"].values() if ip["port_id"] == port["id"]]
        entries += [{"addr": address, "OS-EXT-IPS:type": "floating", **mac} for address in floating]
    active = server["status"] == "ACTIVE"
    flavor = cloud.all["flavors"][server["flavor"]]
    answer = {
        "id": server["id"],
        "name": server["name"],
        "status": server["status"],
        "tenant_id": PROJECT,
        "user_id": USER,
        "metadata": server["metadata"],
        "hostId": "d" * 56 if active else "",
        "image": {"id": server["image"], "links": []} if server["image"] else "",
        "created": STAMP,
        "updated": STAMP,
        "addresses": addresses if active else {},
        "accessIPv4": "",
        "accessIPv6": "",
        "links": [{"rel": "self", "href": f"{cloud.url}/compute/v2.1/servers/{server['id']}"}],
        "OS-DCF:diskConfig": "MANUAL",
        "progress": 100 if active else 0,
        "OS-EXT-AZ:availability_zone": "nova" if active else "",
        "config_drive": "",
        "key_name": server["key_name"],
        "OS-SRV-USG:launched_at": STAMP if active else None,
        "OS-SRV-USG:terminated_at": None,
        "security_groups": [{"name": group["name"]} for group in groups_of(server)],
        "OS-EXT-STS:task_state": "deleting" if server["gone_at"] else None if active else "spawning",
        "OS-EXT-STS:vm_state": {"ACTIVE": "active", "ERROR": "error"}.get(server["status"], "building"),
        "OS-EXT-STS:power_state": 1 if active else 0,
        "os-extended-volumes:volumes_attached": [],
        "flavor": {"id": flavor["id"], "links": []},
    }
    if server["status"] == "ERROR":
        answer["fault"] = {"code": 500, "created": STAMP, "message": "No valid host was found. There are not enough hosts available."}
    if asked >= (2, 47):
        kept = {"original_name": flavor["name"], "extra_specs": {}, "ephemeral": 0, "swap": 0}
        answer["flavor"] = {**kept, **{key: flavor[key] for key in ("vcpus", "ram", "disk")}}
    if asked >= (2, 19):
        answer["description"] = server["description"]
    if asked >= (2, 9):
        answer["locked"] = False
    if asked >= (2, 26):
        answer["tags"] = server["tags"]
    return answer


def groups_of(server: Json) -> list[Json]:
    keys = [key for port in cloud.all["ports"].values() if port["device_id"] == server["id"] for key in port["security_groups"]]
    return [cloud.all["security_groups"][key] for key in dict.fromkeys(keys)]


@app.get("/compute/v2.1/servers/detail")
@app.get("/compute/v2.1/servers")
async def list_servers(request: fastapi.Request) -> Json:
    query = request.query_params
    servers = [server for server in list(cloud.all["servers"].values()) if settle(server) is not None]
    # Nova takes the name as a regular expression
    servers = [server for server in servers if re.search(query.get("name", ""), server["name"])]
    limit = min(int(query.get("limit") or 1000), cloud.settings["page"])
    if marker := query.get("marker"):
        servers = servers[[server["id"] for server in servers].index(marker) + 1 :]
    answer: Json = {"servers": [shown_server(server, request) for server in servers[:limit]]}
    if len(servers) > limit:
        pairs = [f"{key}={value}" for key, value in query.multi_items() if key != "marker"]
        href = f"{cloud.url}{request.url.path}?{'&'.join([*pairs, 'marker=' + servers[limit - 1]['id']])}"
        answer["servers_links"] = [{"rel": "next", "href": href}]
    return answer


@app.post("/compute/v2.1/servers", status_code=202)
async def create_server(body: Json, request: fastapi.Request) -> Json:
    given = body["server"]
    version(request)
    limit = cloud.check_quota("servers")
    if limit is not None:
        raise nova_error(403, f"Quota exceeded for instances: Requested 1, but already used {len(cloud.all['servers'])} of {limit} instances")
    flavor = cloud.all["flavors"].get(given["flavorRef"].rpartition("/")[2])
    if flavor is None:
        raise nova_error(400, "Invalid flavorRef provided.")
    if given.get("imageRef") and given["imageRef"] not in cloud.all["images"]:
        raise nova_error(400, f"Can not find requested image {given['imageRef']}.")
    if given.get("imageRef") and flavor["disk"] == 0 and not given.get("block_device_mapping_v2"):
        raise nova_error(403, "Policy doesn't allow os_compute_api:servers:create:zero_disk_flavor to be performed.")
    if given.get("key_name") and given["key_name"] not in cloud.all["keypairs"]:
        raise nova_error(400, "Invalid key_name provided.")
    networks = given.get("networks") or []
    own = [network["port"] for network in networks if "port" in network]
    for key in own:
        if key not in cloud.all["ports"]:
            raise nova_error(400, f"Port {key} could not be found.")
        if cloud.all["ports"][key]["device_id"]:
            raise nova_error(409, f"Port {key} is still in use.")
    server = cloud.add(
        "servers",
        {
            "name": given["name"],
            "description": given.get("description"),
            "flavor": flavor["id"],
            "image": given.get("imageRef"),
            "volume": given.get("block_device_mapping_v2"),
            "key_name": given.get("key_name"),
            "metadata": given.get("metadata") or {},
            "user_data": given.get("user_data"),
            "tags": given.get("tags") or [],
            "status": "BUILD",
            "build_status": cloud.settings["build_status"],
            "ready_at": time.monotonic() + cloud.settings["build_seconds"],
            "gone_at": None,
            "own_ports": own,
        },
    )
    for key in own:
        cloud.all["ports"][key].update(device_id=server["id"], device_owner="compute:nova")
    for network in networks:
        if "uuid" in network:
            make_port({"network_id": network["uuid"], "device_id": server["id"], "device_owner": "compute:nova"})
    answer = {"id": server["id"], "links": [], "OS-DCF:diskConfig": "MANUAL", "adminPass": secrets.token_urlsafe(9)}
    return {"server": {**answer, "security_groups": given.get("security_groups") or [{"name": "default"}]}}


@app.get("/compute/v2.1/servers/{key}")
async def get_server(key: str, request: fastapi.Request) -> Json:
    return {"server": shown_server(the_server(key), request)}


@app.delete("/compute/v2.1/servers/{key}", status_code=204)
async def delete_server(key: str) -> None:
    server = the_server(key)
    if server["gone_at"] is None:
        server["gone_at"] = time.monotonic() + cloud.settings["delete_seconds"]


@app.get("/compute/v2.1/servers/{key}/os-security-groups")
async def server_groups(key: str) -> Json:
    return {"security_groups": [{"id": group["id"], "name": group["name"], "description": "", "rules": []} for group in groups_of(the_server(key))]}


@app.get("/compute/v2.1/servers/{key}/os-volume_attachments")
async def server_volumes(key: str) -> Json:
    the_server(key)
    return {"volumeAttachments": []}


@app.put("/compute/v2.1/servers/{key}/tags")
async def server_tags(key: str, body: Json) -> Json:
    the_server(key)["tags"] = body["tags"]
    return {"tags": body["tags"]}


@app.post("/compute/v2.1/servers/{key}/metadata")
async def server_metadata(key: str, body: Json) -> Json:
    server = the_server(key)
    server["metadata"].update(body["metadata"])
    return {"metadata": server["metadata"]}


@app.delete("/compute/v2.1/servers/{key}/metadata/{name}", status_code=204)
async def delete_metadata(key: str, name: str) -> None:
    the_server(key)["metadata"].pop(name, None)


def shown_flavor(flavor: Json) -> Json:
    swap = {"OS-FLV-DISABLED:disabled": False, "OS-FLV-EXT-DATA:ephemeral": 0, "os-flavor-access:is_public": True, "swap": 0, "rxtx_factor": 1.0}
    return {**flavor, **swap, "description": None, "extra_specs": {}, "links": []}


@app.get("/compute/v2.1/flavors/detail")
@app.get("/compute/v2.1/flavors")
async def list_flavors(request: fastapi.Request) -> Json:
    flavors = list(cloud.all["flavors"].values())
    limit = min(int(request.query_params.get("limit") or 1000), cloud.settings["page"])
    if marker := request.query_params.get("marker"):
        flavors = flavors[[flavor["id"] for flavor in flavors].index(marker) + 1 :]
    answer: Json = {"flavors": [shown_flavor(flavor) for flavor in flavors[:limit]]}
    if len(flavors) > limit:
        pairs = [f"{key}={value}" for key, value in request.query_params.multi_items() if key != "marker"]
        answer["flavors_links"] = [{"rel": "next", "href": f"{cloud.url}{request.url.path}?{'&'.join([*pairs, 'marker=' + flavors[limit - 1]['id']])}"}]
    return answer


@app.get("/compute/v2.1/flavors/{key}")
async def get_flavor(key: str) -> Json:
    if key not in cloud.all["flavors"]:
        raise nova_error(404, f"Flavor {key} could not be found.")
    return {"flavor": shown_flavor(cloud.all["flavors"][key])}


@app.get("/compute/v2.1/flavors/{key}/os-extra_specs")
async def extra_specs(key: str) -> Json:
    await get_flavor(key)
    return {"extra_specs": {}}


@app.get("/compute/v2.1/os-keypairs")
async def list_keypairs() -> Json:
    return {"keypairs": [{"keypair": item} for item in cloud.all["keypairs"].values()]}


@app.get("/compute/v2.1/os-keypairs/{name}")
async def get_keypair(name: str) -> Json:
    if name not in cloud.all["keypairs"]:
        raise nova_error(404, f"Keypair {name} not found for user {USER}")
    return {"keypair": {**cloud.all["keypairs"][name], "user_id": USER, "deleted": False, "created_at": STAMP, "id": 1}}


@app.post("/compute/v2.1/os-keypairs", status_code=201)
async def create_keypair(body: Json) -> Json:
    given = body["keypair"]
    limit = cloud.check_quota("keypairs")
    if limit is not None:
        raise nova_error(403, "Quota exceeded, too many key pairs.")
    if given["name"] in cloud.all["keypairs"]:
        raise nova_error(409, f"Key pair '{given['name']}' already exists.")
    if not given.get("public_key", "").startswith("ssh-"):
        raise nova_error(400, "Keypair data is invalid: failed to generate fingerprint")
    fingerprint = ":".join(f"{byte:02x}" for byte in uuid.uuid5(uuid.NAMESPACE_DNS, given["public_key"]).bytes)
    item = {"name": given["name"], "public_key": given["public_key"], "fingerprint": fingerprint, "type": "ssh"}
    cloud.all["keypairs"][given["name"]] = item
    return {"keypair": {**item, "user_id": USER}}


@app.delete("/compute/v2.1/os-keypairs/{name}", status_code=204)
async def delete_keypair(name: str) -> None:
    if cloud.all["keypairs"].pop(name, None) is None:
        raise nova_error(404, f"Keypair {name} not found for user {USER}")


@app.get("/compute/v2.1/{path:path}")
async def other_compute(path: str) -> Json:
    """What an exporter reads."""
    service = {"disabled_reason": None, "updated_at": "2026-11-21T12:00:00.000000", "forced_down": False, "status": "enabled"}
    found_services = [("nova-scheduler", "node-0", "up", "internal"), ("nova-compute", "node-0", "up", "nova"), ("nova-compute", "node-1", "down", "nova")]
    hypervisor = {
        "id": uuid.uuid5(uuid.NAMESPACE_DNS, "node-0").hex,
        "hypervisor_hostname": "node-0",
        "host_ip": "192.0.2.10",
        "state": "up",
        "status": "enabled",
    }
    sizes = {
        "vcpus": 8,
        "vcpus_used": 2,
        "memory_mb": 32768,
        "memory_mb_used": 4096,
        "local_gb": 500,
        "local_gb_used": 40,
        "free_disk_gb": 460,
        "running_vms": 1,
    }
    more = {"current_workload": 0, "free_ram_mb": 28672, "disk_available_least": 400, "hypervisor_type": "QEMU", "hypervisor_version": 8002002}
    cpu = {"cpu_info": {"arch": "x86_64"}, "service": {"id": "1", "host": "node-0", "disabled_reason": None}}
    known: dict[str, Json] = {
        "os-services": {
            "services": [
                {"id": uuid.uuid5(uuid.NAMESPACE_DNS, binary + host).hex, "binary": binary, "host": host, "state": state, "zone": zone, **service}
                for binary, host, state, zone in found_services
            ]
        },
        "os-hypervisors/detail": {"hypervisors": [{**hypervisor, **sizes, **more, **cpu}]},
        "os-aggregates": {"aggregates": []},
        "os-availability-zone": {"availabilityZoneInfo": [{"zoneName": "nova", "zoneState": {"available": True}, "hosts": None}]},
        "os-security-groups": {"security_groups": []},
    }
    if path not in known:
        raise nova_error(404, "The resource could not be found.")
    return known[path]


# Glance


@app.get("/image")
@app.get("/image/")
async def image_versions() -> fastapi.Response:
    links = [{"rel": "self", "href": f"{cloud.url}/image/v2/"}]
    return fastapi.responses.JSONResponse({"versions": [{"id": "v2.16", "status": "CURRENT", "links": links}]}, 300)


@app.get("/image/v2/images")
async def list_images(request: fastapi.Request) -> Json:
    query = request.query_params
    images = [image for image in cloud.all["images"].values() if query.get("name") in (None, image["name"])]
    limit = min(int(query.get("limit") or 25), cloud.settings["page"])
    if marker := query.get("marker"):
        images = images[[image["id"] for image in images].index(marker) + 1 :]
    answer: Json = {"images": [shown_image(image) for image in images[:limit]], "schema": "/v2/schemas/images", "first": "/v2/images"}
    if len(images) > limit:
        pairs = [f"{key}={value}" for key, value in query.multi_items() if key != "marker"]
        answer["next"] = f"/v2/images?{'&'.join([*pairs, 'marker=' + images[limit - 1]['id']])}"
    return answer


def shown_image(image: Json) -> Json:
    kept = {"container_format": "bare", "disk_format": "qcow2", "min_ram": 0, "protected": False, "os_hidden": False, "created_at": STAMP, "updated_at": STAMP}
    return {**image, **kept, "checksum": "0" * 32, "self": f"/v2/images/{image['id']}", "file": f"/v2/images/{image['id']}/file", "schema": "/v2/schemas/image"}


@app.get("/image/v2/images/{key}")
async def get_image(key: str) -> Json:
    if key not in cloud.all["images"]:
        raise Refused(404, {"message": f"Failed to find image {key} to show", "code": "404 Not Found", "title": "Not Found"})
    return shown_image(cloud.all["images"][key])


# Cinder


@app.get("/volume")
@app.get("/volume/")
async def volume_versions() -> fastapi.Response:
    links = [{"rel": "self", "href": f"{cloud.url}/volume/v3/"}]
    return fastapi.responses.JSONResponse({"versions": [{"id": "v3.0", "status": "CURRENT", "version": "3.70", "min_version": "3.0", "links": links}]}, 300)


@app.get("/volume/v3/{project}/{path:path}")
async def volumes(project: str, path: str) -> Json:
    pool = {"name": "node-0@rbd#rbd", "capabilities": {"volume_backend_name": "rbd", "vendor_name": "Ceph", "free_capacity_gb": 400, "total_capacity_gb": 500}}
    service = {"disabled_reason": None, "updated_at": "2026-11-21T12:00:00.000000", "status": "enabled", "zone": "nova"}
    binaries = (("cinder-scheduler", "node-0", "up"), ("cinder-volume", "node-0@rbd", "down"))
    known: dict[str, Json] = {
        "os-services": {"services": [{"binary": binary, "host": host, "state": state, **service} for binary, host, state in binaries]},
        "volumes/detail": {"volumes": []},
        "snapshots": {"snapshots": []},
        "snapshots/detail": {"snapshots": []},
        "scheduler-stats/get_pools": {"pools": [pool]},
    }
    if project != PROJECT or path not in known:
        raise nova_error(404, "The resource could not be found.")
    return known[path]


# Placement


@app.get("/placement")
@app.get("/placement/")
async def placement_versions() -> Json:
    return {"versions": [{"id": "v1.0", "status": "CURRENT", "min_version": "1.0", "max_version": "1.39", "links": [{"rel": "self", "href": ""}]}]}


@app.get("/placement/resource_providers")
async def resource_providers() -> Json:
    return {
        "resource_providers": [{"uuid": "e" * 32, "name": "node-0", "generation": 1, "parent_provider_uuid": None, "root_provider_uuid": "e" * 32, "links": []}]
    }


@app.get("/placement/resource_providers/{key}/{kind}")
async def resource_provider(key: str, kind: str) -> Json:
    if key != "e" * 32 or kind not in ("inventories", "usages"):
        raise Refused(404, {"errors": [{"status": 404, "title": "Not Found", "detail": f"No resource provider with uuid {key} found"}]})
    sizes = {"VCPU": 8, "MEMORY_MB": 32768, "DISK_GB": 500}
    if kind == "usages":
        return {"resource_provider_generation": 1, "usages": {name: size // 4 for name, size in sizes.items()}}
    unit = {"min_unit": 1, "step_size": 1, "reserved": 0, "allocation_ratio": 1.0}
    return {"resource_provider_generation": 1, "inventories": {name: {"total": size, "max_unit": size, **unit} for name, size in sizes.items()}}


# Controls


@app.get("/_double/log")
async def get_log() -> list[str]:
    return cloud.log


@app.delete("/_double/log")
async def forget_log() -> None:
    cloud.log.clear()


@app.get("/_double/state")
async def get_state() -> Json:
    return {**{name: list(items.values()) for name, items in cloud.all.items()}, "credentials": [shown_credential(item) for item in cloud.credentials.values()]}


@app.post("/_double/add")
async def add_item(body: Json) -> Json:
    name = body["collection"]
    return make(name, body["item"]) if name in SINGULAR else cloud.add(name, body["item"])


@app.post("/_double/change")
async def change_item(body: Json) -> None:
    cloud.all[body["collection"]][body["id"]].update(body["item"])


@app.delete("/_double/{name}/{key}")
async def remove_item(name: str, key: str) -> None:
    del cloud.all[name][key]


@app.post("/_double/quota")
async def set_quota(body: Json) -> None:
    cloud.quota = body


@app.post("/_double/settings")
async def set_settings(body: Json) -> None:
    cloud.settings.update(body)


@app.post("/_double/faults")
async def set_faults(body: list[Json]) -> None:
    cloud.faults = body


def main() -> None:
    global cloud
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--build-seconds", type=float, default=0.3)
    parser.add_argument("--page", type=int, default=2)
    parser.add_argument("--external", default="127.88.0.0/24")
    options = parser.parse_args()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", options.port))
    listener.listen()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    cloud = Cloud(url, options)
    print(url, flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    asyncio.run(server.serve(sockets=[listener]))


if __name__ == "__main__":
    main()
