"""What grafana-client does on a Grafana or its double; runs in an environment of its own (.cache/venv-grafana-client), for its urllib3-future replaces urllib3.

    GRAFANA_URL=... GRAFANA_TOKEN=... python with_grafana_client.py MARK VERSION NESTED
    GRAFANA_URL=... GRAFANA_USERNAME=... GRAFANA_PASSWORD=... (likewise)

All uids and titles begin with MARK, VERSION is Grafana's, NESTED is 1 where folders lie in folders.
"""

from __future__ import annotations

import os
import sys

from grafana_client import GrafanaApi
from grafana_client.client import GrafanaClientError


def refused(status: int, call, *arguments) -> None:
    try:
        call(*arguments)
    except GrafanaClientError as error:
        if error.status_code == status:
            return
        raise
    raise AssertionError(f"no {status}")


def main() -> None:
    mark, version, nested = sys.argv[1], sys.argv[2], sys.argv[3] == "1"
    token = os.environ.get("GRAFANA_TOKEN")
    api = GrafanaApi.from_url(os.environ["GRAFANA_URL"], credential=token or (os.environ["GRAFANA_USERNAME"], os.environ["GRAFANA_PASSWORD"]))
    assert api.version == version, api.version

    folder, inner, uid = f"{mark}-f", f"{mark}-g", f"{mark}-a"
    assert api.folder.create_folder(f"{mark} F", uid=folder)["uid"] == folder
    refused(409, api.folder.create_folder, f"{mark} F")
    refused(412, api.folder.create_folder, f"{mark} X", folder)
    assert folder in [item["uid"] for item in api.folder.get_all_folders()]
    if nested:
        assert api.folder.create_folder(f"{mark} G", uid=inner, parent_uid=folder)["parentUid"] == folder
        assert [item["uid"] for item in api.folder.get_all_folders(parent_uid=folder)] == [inner]
    assert api.folder.update_folder(folder, title=f"{mark} H", version=1)["title"] == f"{mark} H"
    assert api.folder.get_folder(folder)["version"] == 2

    dashboard = {"uid": uid, "title": mark, "tags": [mark]}
    assert api.dashboard.update_dashboard({"dashboard": dashboard, "folderUid": folder})["version"] == 1
    refused(412, api.dashboard.update_dashboard, {"dashboard": dashboard, "folderUid": folder})
    changed = api.dashboard.update_dashboard({"dashboard": {**dashboard, "version": 1, "description": "x"}, "folderUid": folder})
    assert changed["version"] == 2
    found = api.dashboard.get_dashboard(uid)
    assert found["meta"]["folderTitle"] == f"{mark} H" and found["dashboard"]["description"] == "x"
    assert [row["version"] for row in api.dashboard_versions.get_dashboard_versions_by_uid(uid)] == [2, 1]
    assert [hit["uid"] for hit in api.search.search_dashboards(tag=mark, type_="dash-db")] == [uid]
    assert mark in [row["term"] for row in api.dashboard.get_dashboards_tags()]
    api.dashboard.delete_dashboard(uid)
    refused(404, api.dashboard.get_dashboard, uid)
    api.folder.delete_folder(folder)
    refused(404, api.folder.get_folder, inner if nested else folder)

    sources = api.datasource.list_datasources()
    for source in sources:
        assert api.datasource.get_datasource_by_name(source["name"])["uid"] == source["uid"]
        assert api.datasource.get_datasource_by_uid(source["uid"])["name"] == source["name"]
    assert api.health.check()["version"] == version and api.organization.get_current_organization()["id"] == 1


if __name__ == "__main__":
    main()
