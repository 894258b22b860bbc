# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The KaaS mock service: a cluster made and deleted through its page in a real browser, another one while the service is killed with kill -9."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import typing as t
import urllib.error
import urllib.request

import psutil
import pytest
from ansible_collections.scs.observer.plugins.module_utils import _lab_cluster, _lab_machine
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as expected
from selenium.webdriver.support.ui import WebDriverWait

TOP = pathlib.Path(__file__).parents[2]
FILES = TOP / "roles" / "kaas_mock" / "files"
OUTPUT = TOP / "tests" / "output"
OBSERVER = "test-observer"
# END_TO_END_SLOT gives each lab two indexes of its own
FIRST_INDEX = 65
ALERTS_OF_SILENCE = "KaaSClusterDown|KaaSAgentDown|KaaSClusterNeverSeen|KaaSMassOutage"
# how long silence takes to become an alert in this lab: lookback, "for", and two evaluations
QUIET_SECONDS = 60


class Mock:
    """The service as a process, and an API user with its admin's token."""

    def __init__(self, lab: t.Any, folder: pathlib.Path, first_index: int) -> None:
        self.lab = lab
        self.state = folder / "state"
        self.log = folder / "service.log"
        self._settings = folder / "settings.toml"
        variables = folder / "variables.json"
        variables.write_text(
            json.dumps({"observer_kubeconfig": lab.kubeconfig(OBSERVER), "observer_receive_public_url": lab.receive_url, "kaas_agent_scrape_interval": "5s"})
        )
        settings = {
            "state_dir": str(self.state),
            "port": 0,
            "first_index": first_index,
            "max_clusters": 2,
            "variables": str(variables),
            "collections_path": os.environ["ANSIBLE_COLLECTIONS_PATH"],
        }
        self._settings.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (self.state / "address").unlink(missing_ok=True)
        environment = {**os.environ, "KAAS_MOCK_SETTINGS": str(self._settings), "PYTHONPATH": str(FILES)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "kaas_mock"], env=environment, stdout=log, stderr=log, start_new_session=True)
        self.lab.wait_until(lambda: (self.state / "address").exists() and self._get("/health")[0] == 200, 60, "the service to answer", 0.1)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    @property
    def url(self) -> str:
        return (self.state / "address").read_text().strip()

    @property
    def token(self) -> str:
        return json.loads((self.state / "tokens.json").read_text())["admin"]

    def _get(self, path: str, method: str = "GET", body: t.Any = None) -> tuple[int, t.Any]:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(self.url + path, None if body is None else json.dumps(body).encode(), headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def get(self, path: str) -> t.Any:
        code, answer = self._get(path)
        assert code == 200, f"GET {path}: {code} {answer}"
        return answer

    def create(self, name: str) -> dict[str, t.Any]:
        code, job = self._get("/api/clusters/", "POST", {"name": name})
        assert code == 202, f"{code} {job}"
        return job

    def delete(self, name: str) -> dict[str, t.Any]:
        code, job = self._get(f"/api/clusters/{name}", "DELETE")
        assert code == 202, f"{code} {job}"
        return job

    def clusters(self) -> dict[str, str]:
        return {cluster["name"]: cluster["state"] for cluster in self.get("/api/clusters/")}

    def wait(self, job: int, seconds: float = 300) -> dict[str, t.Any]:
        def ended() -> t.Any:
            found = self.get(f"/api/jobs/{job}")
            assert found["state"] != "failed", f"{found['step']}: {found['error']}; {self._tail(job)}"
            return found["state"] == "succeeded" and found

        return self.lab.wait_until(ended, seconds, f"job {job} to succeed", 0.5)

    def _tail(self, job: int) -> str:
        with contextlib.suppress(OSError):
            return (self.state / "log" / f"{job}.log").read_text()[-2000:]
        return "no log"


class Watch:
    """Asks all the time, beside the test, and notes how many seconds after its begin each thing was true first."""

    def __init__(self, **questions: t.Callable[[], t.Any]) -> None:
        self.seen: dict[str, float] = {}
        self._questions = questions
        self._begin = time.monotonic()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(name,), daemon=True) for name in questions]
        for thread in self._threads:
            thread.start()

    def _ask(self, name: str) -> None:
        while not self._stop.wait(0.3):
            # Query and service may be away for a moment
            with contextlib.suppress(Exception):
                if self._questions[name]():
                    self.seen[name] = round(time.monotonic() - self._begin, 1)
                    return

    def end(self) -> dict[str, float]:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        return self.seen


def names(lab: t.Any) -> tuple[str, str]:
    return lab.name("mock-page"), lab.name("mock-killed")


def registered(lab: t.Any) -> dict[str, str]:
    return lab.get(OBSERVER, "configmap", "kaas-clusters", "-n", "observer").get("data") or {}


def machines(name: str) -> list[pathlib.Path]:
    return [owner for owner in _lab_machine.living_owners().values() if owner.name == name]


def api_servers(lab: t.Any, name: str) -> list[int]:
    folder = f"{_lab_machine.DEFAULT_ROOT / name}/"
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if words and words[0].endswith("/kube-apiserver") and any(folder in word for word in words):
                found.append(process.pid)
    return found


def leave_nothing(lab: t.Any) -> None:
    """Of a session that was killed, or failed."""
    for name in names(lab):
        _lab_cluster.ensure_absent(_lab_machine.DEFAULT_ROOT, name, False)
        if name in registered(lab):
            lab.kubectl(OBSERVER, "patch", "configmap", "kaas-clusters", "-n", "observer", "--type=merge", "-p", json.dumps({"data": {name: None}}))


@pytest.fixture(scope="module")
def mock(lab: t.Any, kaas: t.Any, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Mock]:
    leave_nothing(lab)
    found = Mock(lab, tmp_path_factory.mktemp("kaas_mock"), FIRST_INDEX + 2 * int(os.environ.get("END_TO_END_SLOT") or 0))
    try:
        found.start()
        yield found
    finally:
        if found.process is not None and found.process.poll() is None:
            # ends the playbooks too
            found.process.terminate()
            found.process.wait(60)
        leave_nothing(lab)


class Page:
    """The Swagger page in Chromium."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser = browser
        self.wait = WebDriverWait(browser, 20)
        browser.get(f"{url}/kaas")
        self.wait.until(expected.presence_of_element_located((By.CSS_SELECTOR, ".opblock")))

    def authorize(self, token: str) -> None:
        self.click(".btn.authorize")
        dialog = self.wait.until(expected.visibility_of_element_located((By.CSS_SELECTOR, ".dialog-ux .modal-ux")))
        dialog.find_element(By.CSS_SELECTOR, "input").send_keys(token)
        self.click(".dialog-ux button.authorize[type=submit]")
        self.click(".dialog-ux .btn-done")

    def click(self, selector: str) -> None:
        element = self.wait.until(expected.element_to_be_clickable((By.CSS_SELECTOR, selector)))
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def open(self, operation: str) -> str:
        """Unfolds an operation of the page; returns its selector."""
        block = f"[id^='operations-'][id$='-{operation}']"
        if not self.browser.find_elements(By.CSS_SELECTOR, f"{block}.is-open"):
            self.click(f"{block} .opblock-summary-control")
        self.wait.until(expected.presence_of_element_located((By.CSS_SELECTOR, f"{block} .execute")))
        return block

    def fill(self, selector: str, text: str) -> None:
        element = self.wait.until(expected.visibility_of_element_located((By.CSS_SELECTOR, selector)))
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        # clear() tells React nothing
        element.send_keys("\ue009a\ue000")
        element.send_keys(text)
        assert element.get_attribute("value") == text

    def execute(self, block: str) -> tuple[int, t.Any]:
        """Presses Execute; returns status and body as the page shows them."""
        for button in self.browser.find_elements(By.CSS_SELECTOR, f"{block} .btn-clear"):
            button.click()
        self.click(f"{block} .execute")
        shown = f"{block} .live-responses-table .response"
        row = self.wait.until(expected.presence_of_element_located((By.CSS_SELECTOR, shown)))
        code = int(row.find_element(By.CSS_SELECTOR, ".response-col_status").text.split()[0])
        return code, json.loads(row.find_element(By.CSS_SELECTOR, ".response-col_description code").text)

    def screenshot(self, name: str) -> None:
        OUTPUT.mkdir(exist_ok=True)
        self.browser.save_screenshot(str(OUTPUT / f"kaas_mock_{name}.png"))


@pytest.fixture(scope="module")
def page(mock: Mock) -> t.Iterator[Page]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ("--headless=new", "--window-size=1300,1500", "--disable-dev-shm-usage", "--disable-background-networking"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        # Chromium refuses its sandbox to root
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    try:
        yield Page(browser, mock.url)
    finally:
        browser.quit()


# -- through the page -----------------------------------------------------------
def test_the_page_needs_nothing_from_outside(mock: Mock, page: Page) -> None:
    asked = set()
    for line in page.browser.get_log("performance"):
        message = json.loads(line["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.add(message["params"]["request"]["url"])
    ours = {url for url in asked if url.startswith(f"{mock.url}/")}
    assert {f"{mock.url}/kaas", f"{mock.url}/openapi.json", f"{mock.url}/kaas-static/swagger-ui-bundle.js"} <= ours
    assert not {url for url in asked - ours if not url.startswith(("data:", "blob:", "chrome:"))}, "the page asked somebody else"
    said = [entry["message"] for entry in page.browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert said == [], "the browser complains, for instance about its Content-Security-Policy"
    page.screenshot("1_page")


def test_without_a_token_the_page_gets_nothing(page: Page) -> None:
    code, body = page.execute(page.open("list_clusters_api_clusters__get"))
    assert code == 401 and body["detail"].startswith("A token is needed")


def test_a_cluster_is_created_through_the_page(lab: t.Any, mock: Mock, page: Page) -> None:
    name = names(lab)[0]
    page.authorize(mock.token)
    block = page.open("create_cluster_api_clusters__post")
    page.fill(f"{block} textarea.body-param__text", json.dumps({"name": name}))
    # each task, and when it began
    tasks: dict[str, float] = {}

    def note_task() -> None:
        job = mock.get(f"/api/jobs/?cluster={name}")[-1]
        tasks.setdefault(f"{job['step']}: {job['task'].rpartition(' : ')[2]}" if job["task"] else job["state"], job["elapsed"])

    watch = Watch(
        tasks=note_task,
        registered=lambda: lab.query(f'kaas{{cluster="{name}"}}'),
        first_sample=lambda: lab.query(f'up{{cluster="{name}",observer=""}}'),
        ready=lambda: mock.clusters()[name] == "ready",
    )
    code, job = page.execute(block)
    assert code == 202 and job["cluster"] == name and job["state"] in ("queued", "running")
    page.screenshot("2_created")

    block = page.open("get_job_api_jobs__number__get")
    page.fill(f"{block} tr[data-param-name=number] input", str(job["id"]))
    states = []

    def followed() -> bool:
        code, found = page.execute(block)
        assert code == 200 and found["id"] == job["id"]
        assert found["state"] != "failed", found
        states.append((found["state"], found["step"]))
        return found["state"] == "succeeded"

    lab.wait_until(followed, 300, "the job to succeed, as the page shows it", 2)
    assert ("running", "create") in states and ("running", "onboard") in states, states
    page.screenshot("3_ready")
    seen = watch.end()
    done = mock.get(f"/api/jobs/{job['id']}")
    steps = {step["name"]: step["seconds"] for step in done["steps"]}
    lab.figures["kaas_mock, POST to cluster created, seconds"] = steps["create"]
    lab.figures["kaas_mock, cluster created to first sample in Query, seconds"] = round(seen["first_sample"] - steps["create"], 1)
    lab.figures["kaas_mock, POST to registered, first sample in Query, ready, seconds"] = [seen["registered"], seen["first_sample"], seen["ready"]]
    seconds = {task: round(end - begin, 1) for (task, begin), end in zip(tasks.items(), [*list(tasks.values())[1:], done["elapsed"]], strict=True)}
    lab.figures["kaas_mock, POST to ready, tasks of a second or more"] = {task: taken for task, taken in seconds.items() if taken >= 1}
    code, found = page.execute(page.open("list_clusters_api_clusters__get"))
    assert code == 200 and [(cluster["name"], cluster["state"]) for cluster in found] == [(name, "ready")]


def test_it_reports_and_is_registered(lab: t.Any, mock: Mock) -> None:
    name = names(lab)[0]
    entry = json.loads(registered(lab)[name])
    assert entry["manager"] == "kaas_mock" and entry["labels"]["customer"] == "admin"
    lab.wait_until(lambda: (lab.value(f'count(up{{cluster="{name}"}} == 1)') or 0) >= 8, 60, f"the targets of {name}")
    assert {one["metric"]["node"] for one in lab.query(f'kube_node_info{{cluster="{name}"}}')} == {name}


def test_its_kubeconfig_is_usable(lab: t.Any, mock: Mock, tmp_path: pathlib.Path) -> None:
    name = names(lab)[0]
    path = tmp_path / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(mock.get(f"/api/clusters/{name}")))
    kubectl = [str(pathlib.Path(os.environ.get("SCS_OBSERVER_CACHE", pathlib.Path.home() / ".cache/scs-observer")) / "bin" / "kubectl")]
    done = subprocess.run([*kubectl, "--kubeconfig", str(path), "get", "nodes", "-o", "json"], capture_output=True, text=True, timeout=60, check=True)
    (node,) = json.loads(done.stdout)["items"]
    assert node["metadata"]["name"] == name


def test_an_id_of_somebody_else_is_refused(lab: t.Any, mock: Mock) -> None:
    # with an agent's certificate for it anything could be written under the id of a customer
    name = lab.name("mock-taken")
    lab.kubectl(OBSERVER, "patch", "configmap", "kaas-clusters", "-n", "observer", "--type=merge", "-p", json.dumps({"data": {name: ""}}))
    try:
        job = mock.create(name)["id"]
        lab.wait_until(lambda: mock.get(f"/api/jobs/{job}")["state"] == "failed", 60, "the job to fail")
        failed = mock.get(f"/api/jobs/{job}")
        assert failed["error"].endswith(f"A cluster {name} is registered at the Observer already, not by this service. Choose another name.")
        assert failed["steps"][0]["attempts"] == 1 and machines(name) == []
        mock.wait(mock.delete(name)["id"])
        assert registered(lab)[name] == "", "somebody else's entry went with the failed cluster"
    finally:
        lab.kubectl(OBSERVER, "patch", "configmap", "kaas-clusters", "-n", "observer", "--type=merge", "-p", json.dumps({"data": {name: None}}))


# -- kill -9 --------------------------------------------------------------------
def test_the_service_is_killed_while_it_makes_a_cluster(lab: t.Any, mock: Mock) -> None:
    name = names(lab)[1]
    job = mock.create(name)["id"]
    state = _lab_machine.DEFAULT_ROOT / name

    # right in the middle: processes run, and nothing says yet that the cluster is ready
    lab.wait_until(lambda: (state / "machine.pid").exists() and not (state / _lab_cluster.READY).exists(), 120, "a cluster that is being made", 0.05)
    first = (state / "machine.pid").read_text()
    mock.kill()
    left = [process for process in psutil.process_iter() if name in json.dumps(process_words(process))]
    assert left, "nothing of the run outlived the service, so this test shows nothing"
    assert not (state / _lab_cluster.READY).exists(), "too late: the cluster was made already"
    begin = time.monotonic()
    mock.start()
    done = mock.wait(job)
    lab.figures["kaas_mock, killed while creating: restart to ready, seconds"] = round(time.monotonic() - begin, 1)
    assert {step["name"]: step["attempts"] for step in done["steps"]}["create"] == 2
    assert mock.clusters() == dict.fromkeys(names(lab), "ready")
    assert len(machines(name)) == 1 and len(api_servers(lab, name)) == 1
    assert (state / "machine.pid").read_text() != first and not psutil.pid_exists(int(first.split()[0])), "the machine that was half made still runs"
    assert {one["metric"]["node"] for one in lab.query(f'kube_node_info{{cluster="{name}"}}')} <= {name}
    assert lab.query(f'up{{cluster="{name}",observer=""}}')
    assert len(machines(names(lab)[0])) == 1, "the other cluster is untouched"


def process_words(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


# -- deletion -------------------------------------------------------------------
def test_a_cluster_is_deleted_through_the_page(lab: t.Any, mock: Mock, page: Page) -> None:
    name = names(lab)[0]
    # the service has another port since it was killed
    page = Page(page.browser, mock.url)
    page.authorize(mock.token)
    block = page.open("delete_cluster_api_clusters__name__delete")
    page.fill(f"{block} tr[data-param-name=name] input", name)
    watch = Watch(
        unregistered=lambda: name not in registered(lab),
        kaas_gone=lambda: not lab.query(f'kaas{{cluster="{name}"}}'),
        machine_gone=lambda: not machines(name),
    )
    code, job = page.execute(block)
    assert code == 202 and job["action"] == "delete"
    page.screenshot("4_deleted")
    done = mock.wait(job["id"])
    seen = lab.wait_until(lambda: len(watch.seen) == 3 and watch.end(), 30, "registry entry, kaas and machine to be gone")
    assert [step["name"] for step in done["steps"]] == ["unregister", "delete"]
    assert seen["kaas_gone"] <= seen["machine_gone"], "the cluster went while it was still expected"
    lab.figures["kaas_mock, DELETE to kaas gone in Query, seconds"] = seen["kaas_gone"]
    lab.figures["kaas_mock, DELETE to cluster gone, seconds"] = done["elapsed"]
    assert name not in mock.clusters() and name not in registered(lab)
    assert machines(name) == [] and api_servers(lab, name) == [] and not (_lab_machine.DEFAULT_ROOT / name).exists()
    assert mock._get(f"/api/clusters/{name}")[0] == 404


def test_deleting_on_purpose_raises_no_alert(lab: t.Any, mock: Mock) -> None:
    deleted = mock.get(f"/api/jobs/?cluster={names(lab)[0]}")[-1]
    quiet_since = time.time() - (deleted["elapsed"] or 0)
    mock.wait(mock.delete(names(lab)[1])["id"])
    assert mock.clusters() == {}
    time.sleep(max(0.0, QUIET_SECONDS - (time.time() - quiet_since)))
    for name in names(lab):
        fired = lab.query(f'max_over_time(ALERTS{{alertname=~"{ALERTS_OF_SILENCE}",cluster="{name}",alertstate="firing"}}[1h])')
        assert fired == [], f"{name}: {[one['metric']['alertname'] for one in fired]} fired"
    for alert in ALERTS_OF_SILENCE.split("|"):
        found = [one["labels"] for one in lab.alerts(alert) if one["labels"].get("cluster") in names(lab)]
        assert found == [], f"{alert} is in Alertmanager for {found}"
    # the question can be answered: this Ruler does write ALERTS
    assert lab.query("ALERTS"), "there is no ALERTS at all, so this test shows nothing"
