"""A double of Grafana's HTTP API, for tests where no Grafana can be had. It is not Grafana: it stores dashboards in memory, and draws nothing.

    python tests/grafana_double [--port 3000] [--version 10.4.19] [--nested] [--token T] [--viewer-token T] [--password P] [--certificate F --key F]

It prints its address on the first line. It answers as the source of 10.4 and its OpenAPI description say, and imitates what bites: versions that do
not fit (412), titles that must be unique in a folder (below 11), provisioned and plugin dashboards, nested folders, paging, fields that are filled
in (from 12 on panel ids too), wrong tokens. Below /_double lie its own controls:

    GET  /_double/log        the requests so far
    DELETE /_double          forget everything
    POST /_double/faults     [{method, path (regex), status, body, html, delay, drop, times, headers}]: slow, refused, broken and HTML answers
    POST /_double/provision  {dashboard, external_id, folderUid, allow_ui}: a dashboard from a file
    POST /_double/plugin     {uid}: it belongs to a plugin
    POST /_double/edit       {uid, title?}: somebody saves it in Grafana's editor, which fills in its defaults
    POST /_double/race       {uid}: somebody does so right before its next write
    POST /_double/move       {uid, parentUid}: a folder, without any check, so that loops can be made
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import copy
import datetime
import http
import http.server
import json
import re
import socket
import ssl
import string
import threading
import time
import typing as t
import unicodedata
import urllib.parse
import uuid

Json = dict[str, t.Any]
UID = re.compile(r"[a-zA-Z0-9\-_]*\Z")
SEPARATORS = " ,\"'\n\r\0?.()-_/;=*+<>[]{}|"
TYPE_NAMES = {"prometheus": "Prometheus", "loki": "Loki"}
# What a role lacks to do this, as Grafana names it.
RIGHTS = {
    ("POST", "dashboards"): "any of dashboards:create, dashboards:write",
    ("DELETE", "dashboards"): "dashboards:delete",
    ("POST", "folders"): "folders:create",
    ("PUT", "folders"): "folders:write",
    ("DELETE", "folders"): "folders:delete",
}
# What the editor of Grafana adds when it saves.
EDITOR: Json = {
    "annotations": {
        "list": [
            {
                "builtIn": 1,
                "datasource": {"type": "grafana", "uid": "-- Grafana --"},
                "enable": True,
                "hide": True,
                "iconColor": "rgba(0, 211, 255, 1)",
                "name": "Annotations & Alerts",
                "type": "dashboard",
            }
        ]
    },
    "editable": True,
    "fiscalYearStartMonth": 0,
    "graphTooltip": 0,
    "links": [],
    "liveNow": False,
    "refresh": "",
    "tags": [],
    "templating": {"list": []},
    "time": {"from": "now-6h", "to": "now"},
    "timepicker": {},
    "timezone": "",
    "weekStart": "",
}


class Refused(Exception):
    def __init__(self, status: int, message: str, code: str = "", title: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = {"message": message, **({"status": code} if code else {}), **({"title": title} if title else {})}


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def slug(title: str) -> str:
    """Letters lose their accents, separators become one dash, and other signs the hexadecimal digits of their UTF-8."""
    found, apart = "", False
    for sign in title.strip().lower().replace("&", "and"):
        if sign in SEPARATORS:
            apart = True
            continue
        plain = unicodedata.normalize("NFKD", sign)[0]
        known = plain in string.ascii_lowercase + string.digits
        found += "-" * apart + (plain if known else sign.encode().hex())
        apart = not known
    return found.strip("-")


class Grafana:
    """What the double remembers. Everything runs under one lock."""

    def __init__(self, version: str, *, nested: bool) -> None:
        self.version, self.major = version, int(version.split(".")[0])
        self.nested = nested or self.major >= 11
        self.lock = threading.RLock()
        self.forget()

    def forget(self) -> None:
        self.ids = 0
        self.dashboards: dict[str, Json] = {}
        self.folders: dict[str, Json] = {}
        self.datasources: list[Json] = []
        self.log: list[str] = []
        self.faults: list[Json] = []
        self.races: set[str] = set()
        for name, uid, kind in (("Thanos", "thanos", "prometheus"), ("Prometheus", "prom", "prometheus"), ("Loki", "loki", "loki")):
            self.add_datasource({"name": name, "uid": uid, "type": kind, "access": "proxy", "url": "http://localhost", "isDefault": name == "Thanos"})

    def new_id(self) -> int:
        self.ids += 1
        return self.ids

    # Folders

    def folder(self, uid: str) -> Json:
        if uid not in self.folders:
            raise Refused(404, "folder not found", "not-found")
        return self.folders[uid]

    def folder_answer(self, folder: Json, by: str = "", without: tuple[str, ...] = ()) -> Json:
        """With nested folders, only the answer to creating it says who did."""
        by = by or ("Anonymous" if self.nested else "admin")
        found = {
            **{key: folder[key] for key in ("id", "uid", "title", "created", "updated", "version")},
            "orgId": 0,
            "url": f"/dashboards/f/{folder['uid']}/{slug(folder['title'])}",
            "hasAcl": False,
            "canSave": True,
            "canEdit": True,
            "canAdmin": True,
            "canDelete": True,
            "createdBy": by,
            "updatedBy": by,
        }
        if self.nested and folder["parentUid"]:
            found["parentUid"] = folder["parentUid"]
            parents, uid = [], folder["parentUid"]
            while uid and len(parents) < 8:
                above = self.folders[uid]
                parents.insert(0, self.folder_answer({**above, "parentUid": ""}, without=("version",)))
                if above["parentUid"]:
                    parents[0]["parentUid"] = above["parentUid"]
                uid = above["parentUid"]
            found["parents"] = parents
        return {key: value for key, value in found.items() if key not in without}

    def list_folders(self, query: Query) -> list[Json]:
        parent = query.one("parentUid") if self.nested else ""
        if parent and parent not in self.folders:
            raise Refused(404, "[guardian.dashboardNotFound] failed to get dashboard by UID: Dashboard not found")
        inside = [folder for folder in self.folders.values() if not self.nested or folder["parentUid"] == parent]
        inside.sort(key=lambda folder: folder["title"].lower())
        hits = [{key: folder[key] for key in ("id", "uid", "title", *(["parentUid"] if parent else []))} for folder in inside]
        return query.page(hits, 1000)

    def create_folder(self, body: Json) -> Json:
        title, uid = str(body.get("title") or "").strip(), body.get("uid") or uuid.uuid4().hex[:14]
        parent = str(body.get("parentUid") or "")
        if parent and not self.nested and parent not in self.folders:
            refused = Refused(404, "Not found")
            refused.body |= {"messageId": "folder.notFound", "statusCode": 404}
            raise refused
        if not title:
            raise Refused(400, "folder title cannot be empty")
        if not UID.match(uid) or len(uid) > 40:
            raise Refused(400, "uid contains illegal characters" if len(uid) <= 40 else "uid too long, max 40 characters")
        if parent:
            self.folder(parent)
        self.check_folder_title(title, parent, uid)
        if uid in self.folders:
            raise Refused(412, "the folder has been changed by someone else", "version-mismatch")
        if uid in self.dashboards:
            raise Refused(409, "a folder/dashboard with the same uid already exists")
        self.folders[uid] = {"id": self.new_id(), "uid": uid, "title": title, "parentUid": parent, "created": now(), "updated": now(), "version": 1}
        # without nested folders the parent is kept too, and said only here
        return {**self.folder_answer(self.folders[uid], "admin"), **({"parentUid": parent} if parent else {})}

    def check_folder_title(self, title: str, parent: str, besides: str = "") -> None:
        if any(folder["title"] == title and folder["parentUid"] == parent and folder["uid"] != besides for folder in self.folders.values()):
            raise Refused(409, "a folder with the same name already exists in the current location")

    def update_folder(self, uid: str, body: Json) -> Json:
        folder = self.folder(uid)
        if not body.get("overwrite") and body.get("version") != folder["version"]:
            raise Refused(412, "the folder has been changed by someone else", "version-mismatch")
        title = str(body.get("title") or "").strip() or (folder["title"] if body.get("title") == "" else "")
        if not title:
            raise Refused(400, "folder title cannot be empty")
        self.check_folder_title(title, folder["parentUid"], uid)
        folder.update(title=title, version=folder["version"] + 1, updated=now())
        return self.folder_answer(folder)

    def move_folder(self, uid: str, body: Json) -> Json:
        folder, parent = self.folder(uid), str(body.get("parentUid") or "")
        above = parent
        while above:
            if above == uid:
                raise Refused(500, "move folder failed")
            above = self.folder(above)["parentUid"]
        folder.update(parentUid=parent, version=folder["version"] + 1)
        return self.folder_answer(folder, without=("version",))

    def delete_folder(self, uid: str) -> Json:
        self.folder(uid)
        for child in [child["uid"] for child in self.folders.values() if child["parentUid"] == uid]:
            self.delete_folder(child)
        self.dashboards = {key: item for key, item in self.dashboards.items() if item["folderUid"] != uid}
        del self.folders[uid]
        return {"message": "Folder deleted"}

    # Dashboards

    def dashboard(self, uid: str) -> Json:
        if uid not in self.dashboards:
            raise Refused(404, "Dashboard not found")
        return self.dashboards[uid]

    def dashboard_answer(self, item: Json, *, writes: bool) -> Json:
        folder = self.folders.get(item["folderUid"])
        meta = {
            "type": "db",
            "canSave": writes,
            "canEdit": writes,
            "canAdmin": writes,
            "canStar": True,
            "canDelete": writes,
            "slug": slug(item["data"]["title"]),
            "url": f"/d/{item['data']['uid']}/{slug(item['data']['title'])}",
            "expires": "0001-01-01T00:00:00Z",
            "created": item["created"],
            "updated": item["updated"],
            "updatedBy": item["by"],
            "createdBy": item["created_by"],
            "version": item["data"]["version"],
            "hasAcl": False,
            "isFolder": False,
            "folderId": folder["id"] if folder else 0,
            "folderUid": folder["uid"] if folder else "",
            "folderTitle": folder["title"] if folder else "General",
            "folderUrl": f"/dashboards/f/{folder['uid']}/{slug(folder['title'])}" if folder else "",
            "provisioned": bool(item["external_id"]) and not item["allow_ui"],
            "provisionedExternalId": item["external_id"],
            "annotationsPermissions": {
                scope: dict.fromkeys(("canAdd", "canEdit", "canDelete"), allowed) for scope, allowed in (("dashboard", True), ("organization", writes))
            },
        }
        return {"meta": meta, "dashboard": item["data"]}

    def save(self, body: Json, by: str) -> Json:
        if not isinstance(body.get("dashboard"), dict | list):
            raise Refused(400, "bad request data")
        data = copy.deepcopy(body["dashboard"]) if isinstance(body["dashboard"], dict) else {}
        if body.get("isFolder"):
            raise Refused(400, "Use folders endpoint for saving folders.")
        title, uid = data.get("title"), str(data.get("uid") or "").strip()
        data["title"] = title.strip() if isinstance(title, str) else ""
        if not data["title"]:
            raise Refused(400, "Dashboard title cannot be empty", "empty-name")
        if not UID.match(uid):
            raise Refused(400, "uid contains illegal characters")
        if len(uid) > 40:
            raise Refused(400, "uid too long, max 40 characters")
        folder = str(body.get("folderUid") or "")
        if not folder and body.get("folderId"):
            folder = next((item["uid"] for item in self.folders.values() if item["id"] == body["folderId"]), "?")
        if folder and folder not in self.folders:
            # as Grafana says it here, with 400
            raise Refused(400, "folder not found")
        if uid in self.races:
            self.races.discard(uid)
            self.edit({"uid": uid})
        overwrite = bool(body.get("overwrite"))
        if data.get("id"):
            same_id = next((item for item in self.dashboards.values() if item["data"]["id"] == data["id"]), None)
            if same_id is None:
                raise Refused(404, "Dashboard not found", "not-found")
            uid = uid or same_id["data"]["uid"]
        if uid in self.folders:
            raise Refused(400, "Dashboard cannot be changed to a folder")
        existing = self.dashboards.get(uid)
        version = int(data.get("version") or 0)
        if existing:
            if version != existing["data"]["version"] and not overwrite:
                raise Refused(412, "The dashboard has been changed by someone else", "version-mismatch")
            if existing["plugin"] and not overwrite:
                raise Refused(412, "The dashboard belongs to plugin Double.", "plugin-dashboard")
        if self.major < 11:
            twin = next((i for i in self.dashboards.values() if i["folderUid"] == folder and i["data"]["title"] == data["title"] and i is not existing), None)
            if twin and not overwrite:
                raise Refused(412, "A dashboard with the same name in the folder already exists", "name-exists")
            if twin:
                # what overwrite does in Grafana 10: the other dashboard goes under
                existing, uid = twin, twin["data"]["uid"]
        if existing and existing["external_id"] and not existing["allow_ui"]:
            raise Refused(400, "Cannot save provisioned dashboard")
        uid = uid or uuid.uuid4().hex[:14]
        data.update(uid=uid, id=existing["data"]["id"] if existing else self.new_id(), version=existing["data"]["version"] + 1 if existing else 1)
        if self.major >= 12:
            fill_panel_ids(data)
        item = existing or {"created": now(), "created_by": by, "external_id": "", "allow_ui": False, "plugin": False, "history": []}
        item.update(data=data, folderUid=folder, updated=now(), by=by)
        message = str(body.get("message") or "") if item["history"] else "Initial save"
        kept = {key: value for key, value in data.items() if item["history"] or key != "id"}
        item["history"].append({"version": data["version"], "message": message, "created": now(), "createdBy": by, "data": kept})
        self.dashboards[uid] = item
        answer = {"status": "success", "slug": slug(data["title"]), "version": data["version"], "id": data["id"], "uid": uid}
        return {**answer, "url": f"/d/{uid}/{slug(data['title'])}", "folderUid": folder}

    def delete(self, uid: str) -> Json:
        item = self.dashboard(uid)
        if item["external_id"] and not item["allow_ui"]:
            raise Refused(400, "provisioned dashboard cannot be deleted")
        del self.dashboards[uid]
        return {"title": item["data"]["title"], "message": f"Dashboard {item['data']['title']} deleted", "id": item["data"]["id"]}

    def versions(self, uid: str, query: Query) -> list[Json]:
        item = self.dashboard(uid)
        rows = [
            {
                "id": number,
                "dashboardId": item["data"]["id"],
                "uid": uid,
                "parentVersion": row["version"] - 1,
                "restoredFrom": 0,
                **row,
            }
            for number, row in enumerate(item["history"], 1)
        ]
        return rows[::-1][query.number("start", 0) :][: query.number("limit", 1000)]

    def search(self, query: Query) -> list[Json]:
        if query.number("limit", 1000) > 5000:
            raise Refused(422, "Limit is above maximum allowed (5000), use page parameter to access hits beyond limit")
        hits: list[Json] = []
        kind, tags = query.one("type"), set(query.all("tag"))
        if kind in ("", "dash-folder") and not tags:
            hits += [
                self.hit(folder["id"], folder["uid"], folder["title"], "dash-folder", [], folder["parentUid"] if self.nested else "")
                for folder in self.folders.values()
            ]
        if kind in ("", "dash-db"):
            for item in self.dashboards.values():
                data = item["data"]
                if tags <= set(data.get("tags") or []):
                    hits.append(self.hit(data["id"], data["uid"], data["title"], "dash-db", data.get("tags") or [], item["folderUid"]))
        text, uids = query.one("query").lower(), query.all("dashboardUIDs") or query.all("dashboardUID")
        folders, numbers = query.all("folderUIDs"), [number for number in query.all("folderIds") if number.isdigit()]
        hits = [hit for hit in hits if text in hit["title"].lower() and (not uids or hit["uid"] in uids)]
        if folders:
            # all folders count as being at the top too
            places = [{hit.get("folderUid") or "general", "general" if hit["type"] == "dash-folder" else ""} for hit in hits]
            hits = [hit for hit, place in zip(hits, places, strict=True) if place & set(folders)]
        if numbers:
            hits = [hit for hit in hits if str(hit.get("folderId", 0)) in numbers]
        hits.sort(key=lambda hit: hit["title"], reverse=query.one("sort") == "alpha-desc")
        found = query.page(hits, 1000)
        if not query.one("sort"):
            # one list for both, of which each page is put in order once more
            found.sort(key=lambda hit: (hit["type"] != "dash-folder", hit["title"].lower()))
            for hit in found:
                hit["tags"] = sorted(hit["tags"], key=str.lower)
        return found

    def hit(self, number: int, uid: str, title: str, kind: str, tags: list[str], folder: str) -> Json:
        url = f"/dashboards/f/{uid}/{slug(title)}" if kind == "dash-folder" else f"/d/{uid}/{slug(title)}"
        found = {"id": number, "uid": uid, "title": title, "uri": f"db/{slug(title)}", "url": url, "slug": "", "type": kind}
        found |= {"tags": tags, "isStarred": False, "sortMeta": 0}
        if folder:
            above = self.folders[folder]
            found |= {"folderUid": folder, "folderTitle": above["title"]}
            if kind == "dash-db":
                found |= {"folderId": above["id"], "folderUrl": f"/dashboards/f/{folder}/{above['title'] if self.nested else slug(above['title'])}"}
        return found

    # Datasources

    def add_datasource(self, body: Json) -> Json:
        if not body.get("type") or not body.get("access"):
            raise Refused(400, "bad request data")
        for key in ("name", "uid"):
            if body.get(key) and any(item[key] == body[key] for item in self.datasources):
                raise Refused(409, f"data source with the same {key} already exists")
        base = {"url": "", "user": "", "database": "", "basicAuth": False, "isDefault": False, "jsonData": {}, "readOnly": False, "access": "proxy"}
        extra = {"basicAuthUser": "", "withCredentials": False, "secureJsonFields": dict.fromkeys(body.get("secureJsonData") or {}, True), "version": 1}
        extra["typeLogoUrl"] = f"public/app/plugins/datasource/{body['type']}/img/{body['type']}_logo.svg"
        item = {**base, **extra, **body, "id": self.new_id(), "orgId": 1, "uid": body.get("uid") or uuid.uuid4().hex[:9]}
        item.pop("secureJsonData", None)
        self.datasources.append(item)
        return {"id": item["id"], "name": item["name"], "message": "Datasource added", "datasource": item}

    def datasource(self, key: str, value: str) -> Json:
        found = next((item for item in self.datasources if str(item[key]) == value), None)
        if found is None:
            raise Refused(404, "Data source not found")
        return found

    def update_datasource(self, key: str, value: str, body: Json) -> Json:
        item = self.datasource(key, value)
        item.update(
            {name: entry for name, entry in body.items() if name not in ("id", "uid", "orgId", "secureJsonData")}, version=int(body.get("version") or 0) + 1
        )
        return {"id": item["id"], "name": item["name"], "message": "Datasource updated", "datasource": item}

    def delete_datasource(self, key: str, value: str) -> Json:
        item = self.datasource(key, value)
        self.datasources.remove(item)
        return {"id": item["id"], "message": "Data source deleted"}

    def settings(self) -> Json:
        listed = {item["name"]: {key: item[key] for key in ("id", "uid", "type", "name", "url", "isDefault")} for item in self.datasources}
        listed["-- Grafana --"] = {"id": -1, "uid": "grafana", "type": "datasource", "name": "-- Grafana --"}
        default = next((item["name"] for item in self.datasources if item["isDefault"]), "-- Grafana --")
        build = {"version": self.version, "commit": "double", "buildstamp": 0, "edition": "Open Source", "env": "production", "hideVersion": False}
        return {
            "appSubUrl": "",
            "buildInfo": build,
            "datasources": listed,
            "defaultDatasource": default,
            "featureToggles": {"nestedFolders": True} if self.nested else {},
        }

    # Its own controls

    def provision(self, body: Json) -> Json:
        answer = self.save({"dashboard": body["dashboard"], "folderUid": body.get("folderUid", ""), "overwrite": True}, "provisioner")
        self.dashboards[answer["uid"]].update(external_id=body.get("external_id", "a.json"), allow_ui=bool(body.get("allow_ui")))
        return answer

    def edit(self, body: Json) -> Json:
        item = self.dashboard(body["uid"])
        data = {**copy.deepcopy(EDITOR), **item["data"]}
        data["title"] = body.get("title", data["title"])
        if "title" not in body and body.get("touch", True):
            data["description"] = "edited"
        fill_panel_ids(data)
        data["version"] += 1
        item.update(data=data, by="somebody", updated=now())
        item["history"].append({"version": data["version"], "message": "", "created": now(), "createdBy": "somebody"})
        return {"version": data["version"]}


def fill_panel_ids(data: Json) -> None:
    """What shares an id, or has none, gets a new one."""
    panels = [panel for panel in data.get("panels") or [] if isinstance(panel, dict)]
    panels += [inner for panel in panels for inner in panel.get("panels") or [] if isinstance(inner, dict)]
    used: set[int] = set()
    for panel in panels:
        if not panel.get("id") or panel["id"] in used:
            panel["id"] = max([*used, *(other.get("id") or 0 for other in panels)], default=0) + 1
        used.add(panel["id"])


class Query:
    def __init__(self, text: str) -> None:
        self.values = urllib.parse.parse_qs(text, keep_blank_values=True)

    def all(self, name: str) -> list[str]:
        return self.values.get(name, [])

    def one(self, name: str) -> str:
        return self.values.get(name, [""])[-1]

    def number(self, name: str, default: int) -> int:
        text = self.one(name)
        return int(text) if text.isdigit() and int(text) > 0 else default

    def page(self, rows: list[Json], default: int) -> list[Json]:
        limit = self.number("limit", default)
        begin = (self.number("page", 1) - 1) * limit
        return rows[begin : begin + limit]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # small writes would wait for the peer's acknowledgement
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, format: str, *args: t.Any) -> None: ...

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
            super().handle()

    def do_GET(self) -> None:
        self.serve()

    do_POST = do_PUT = do_DELETE = do_PATCH = do_GET

    def serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        path, _mark, query = self.path.partition("?")
        grafana = self.server.grafana
        try:
            body = json.loads(raw) if raw else {}
        except ValueError:
            return self.answer(400, {"message": "bad request data"})
        if path.startswith("/_double"):
            with grafana.lock:
                return self.answer(200, self.control(path, body))
        with grafana.lock:
            grafana.log.append(f"{self.command} {self.path}")
            fitting = (item for item in grafana.faults if item.get("method", self.command) == self.command and re.search(item.get("path", ""), self.path))
            fault = next(fitting, None)
            if fault and "times" in fault:
                fault["times"] -= 1
                if fault["times"] <= 0:
                    grafana.faults.remove(fault)
        if fault and self.broken(fault):
            return None
        if path == "/api/health":
            return self.answer(200, {"commit": "double", "database": "ok", "version": grafana.version})
        role = self.role()
        if role is None:
            messages = {"Bearer": ("Invalid API key", "api-key.invalid"), "Basic": ("Invalid username or password", "password-auth.failed")}
            message, code = messages.get(self.headers.get("Authorization", "").partition(" ")[0], ("Unauthorized", "auth.unauthorized"))
            return self.answer(401, {"extra": None, "message": message, "messageId": code, "statusCode": 401, "traceID": ""})
        try:
            with grafana.lock:
                status, found = self.route(path, Query(query), body, role)
        except Refused as refused:
            return self.answer(refused.status, refused.body)
        return self.answer(status, found)

    def broken(self, fault: Json) -> bool:
        """Whether the fault took the place of an answer."""
        time.sleep(fault.get("delay", 0))
        if fault.get("drop"):
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return True
        if "html" in fault:
            self.answer(fault.get("status", 200), fault["html"].encode(), "text/html; charset=utf-8", fault.get("headers"))
            return True
        if "status" in fault:
            self.answer(fault["status"], fault.get("body", {"message": http.HTTPStatus(fault["status"]).phrase}), headers=fault.get("headers"))
            return True
        return False

    def role(self) -> str | None:
        kind, _space, secret = self.headers.get("Authorization", "").partition(" ")
        if kind == "Bearer":
            return self.server.tokens.get(secret)
        if kind == "Basic":
            with contextlib.suppress(ValueError):
                return "Admin" if base64.b64decode(secret).decode() == f"admin:{self.server.password}" else None
        return None

    def control(self, path: str, body: t.Any) -> t.Any:
        grafana = self.server.grafana
        match self.command, path.removeprefix("/_double"):
            case "GET", "/log":
                return list(grafana.log)
            case "DELETE", _:
                return grafana.forget()
            case "POST", "/faults":
                grafana.faults = body
            case "POST", "/provision":
                return grafana.provision(body)
            case "POST", "/plugin":
                grafana.dashboards[body["uid"]]["plugin"] = True
            case "POST", "/edit":
                return grafana.edit(body)
            case "POST", "/race":
                grafana.races.add(body["uid"])
            case "POST", "/move":
                grafana.folders[body["uid"]]["parentUid"] = body["parentUid"]
        return {}

    def route(self, path: str, query: Query, body: t.Any, role: str) -> tuple[int, t.Any]:
        grafana = self.server.grafana
        parts = [urllib.parse.unquote(part) for part in path.removeprefix("/api/").split("/")]
        if self.command != "GET" and role == "Viewer":
            needed = RIGHTS.get((self.command, parts[0]), "")
            raise Refused(403, f"You'll need additional permissions to perform this action. Permissions needed: {needed}", title="Access denied")
        if self.command in ("POST", "PUT") and not isinstance(body, dict):
            raise Refused(400, "bad request data")
        match self.command, *parts:
            case "GET", "frontend", "settings":
                return 200, grafana.settings()
            case "GET", "search":
                return 200, grafana.search(query)
            case "GET", "folders":
                return 200, grafana.list_folders(query)
            case "POST", "folders":
                return 200, grafana.create_folder(body)
            case "GET", "folders", "id", number:
                return 200, grafana.folder_answer(next((item for item in grafana.folders.values() if str(item["id"]) == number), None) or grafana.folder("?"))
            case "GET", "folders", uid:
                return 200, grafana.folder_answer(grafana.folder(uid))
            case "PUT", "folders", uid:
                return 200, grafana.update_folder(uid, body)
            case "DELETE", "folders", uid:
                return 200, grafana.delete_folder(uid)
            case "POST", "folders", uid, "move":
                if not grafana.nested:
                    raise Refused(404, "To use this service, you need to activate nested folder feature.")
                return 200, grafana.move_folder(uid, body)
            case "GET", "dashboards", "uid", uid:
                return 200, grafana.dashboard_answer(grafana.dashboard(uid), writes=role != "Viewer")
            case "DELETE", "dashboards", "uid", uid:
                return 200, grafana.delete(uid)
            case "POST", "dashboards", "db":
                return 200, grafana.save(body, "admin")
            case "GET", "dashboards", "uid", uid, "versions":
                return 200, grafana.versions(uid, query)
            case "GET", "dashboards", "tags":
                tags = [tag for item in grafana.dashboards.values() for tag in item["data"].get("tags") or []]
                return 200, [{"term": tag, "count": tags.count(tag)} for tag in sorted(set(tags))]
            case "GET", "datasources":
                details = ("basicAuthUser", "withCredentials", "secureJsonFields", "version")
                return 200, [
                    {**{k: v for k, v in item.items() if k not in details}, "typeName": TYPE_NAMES.get(item["type"], item["type"])}
                    for item in grafana.datasources
                ]
            case "POST", "datasources":
                return 200, grafana.add_datasource(body)
            case (command, "datasources", ("uid" | "name") as key, value):
                return 200, self.one_datasource(command, key, value, body)
            case command, "datasources", number:
                return 200, self.one_datasource(command, "id", number, body)
            case "GET", "org" | "orgs", *_:
                return 200, {"id": 1, "name": "Main Org.", "address": dict.fromkeys(("address1", "address2", "city", "zipCode", "state", "country"), "")}
            case "GET", "user":
                user = {"id": 1, "uid": "u1", "email": "admin@localhost", "name": "", "login": "admin", "theme": "", "orgId": 1, "isGrafanaAdmin": True}
                flags = {"isDisabled": False, "isExternal": False, "isExternallySynced": False, "isGrafanaAdminExternallySynced": False, "authLabels": []}
                return 200, {**user, **flags, "updatedAt": now(), "createdAt": now(), "avatarUrl": ""}
            case "GET", "user", "orgs":
                return 200, [{"orgId": 1, "name": "Main Org.", "role": "Admin"}]
            case "POST", "user", "using", number:
                if number != "1":
                    raise Refused(401, "Not a valid organization")
                return 200, {"message": "Active organization changed"}
        raise Refused(404, "Not found")

    def one_datasource(self, command: str, key: str, value: str, body: Json) -> Json:
        match command:
            case "GET":
                return self.server.grafana.datasource(key, value)
            case "PUT":
                return self.server.grafana.update_datasource(key, value, body)
            case "DELETE":
                return self.server.grafana.delete_datasource(key, value)
        raise Refused(404, "Not found")

    def answer(self, status: int, found: t.Any, kind: str = "application/json", headers: Json | None = None) -> None:
        raw = found if isinstance(found, bytes) else json.dumps(found).encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": len(raw), **(headers or {})}.items():
            self.send_header(name, str(value))
        # one write for all, for a second one would wait
        self._headers_buffer.append(b"\r\n")
        head, self._headers_buffer = b"".join(self._headers_buffer), []
        self.wfile.write(head + raw)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__((options.host, options.port), Handler)
        self.grafana = Grafana(options.version, nested=options.nested)
        self.tokens = {options.token: "Editor", options.viewer_token: "Viewer"}
        self.password = options.password
        self.context: ssl.SSLContext | None = None
        if options.certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(options.certificate, options.key)

    def finish_request(self, request: t.Any, client_address: t.Any) -> None:
        # here, in the connection's own thread, so that a broken handshake stops nobody else
        with contextlib.suppress(OSError):
            super().finish_request(self.context.wrap_socket(request, server_side=True) if self.context else request, client_address)


def main() -> None:
    parser = argparse.ArgumentParser(description="A double of Grafana's HTTP API")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--version", default="10.4.19")
    parser.add_argument("--nested", action="store_true", help="the feature toggle nestedFolders of Grafana 10")
    parser.add_argument("--token", default="token-of-an-editor")
    parser.add_argument("--viewer-token", default="token-of-a-viewer")
    parser.add_argument("--password", default="admin", help="of the user admin")
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    options = parser.parse_args()
    with Server(options) as server:
        host, port = server.server_address[:2]
        print(f"{'https' if options.certificate else 'http'}://{host}:{port}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever(poll_interval=0.2)


if __name__ == "__main__":
    main()
