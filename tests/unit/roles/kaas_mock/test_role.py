# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role kaas_mock writes and what it refuses. That an installation works: tests/end_to_end/test_66_kaas_mock_clusters.py."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tomllib
import typing as t
from pathlib import Path

import pytest
import yaml
from _programs import CACHE
from kaas_mock.settings import Settings

TOP = Path(__file__).parents[4]
ROLE = TOP / "roles" / "kaas_mock"
BIN = Path(sys.executable).parent
TEMPLATES = [
    "settings.toml.j2",
    "environment.j2",
    "with_environment.sh.j2",
    "kaas_mock.sh.j2",
    "kaas_mock_clusters.sh.j2",
    "kaas_mock.service.j2",
    "supervisord.conf.j2",
]
PEM = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE" + " KEY-----\nx\n-----END PRIVATE" + " KEY-----\n"
SECRET = "s3cret it's $HOME `id`"

VARIANTS: dict[str, dict[str, t.Any]] = {
    "plain": {},
    # as they come from the command line
    "strings": {"kaas_mock_port": "8081", "kaas_mock_max_clusters": "3", "kaas_mock_auth": "false"},
    "tls": {"kaas_mock_tls_certificate": PEM, "kaas_mock_tls_key": KEY, "kaas_mock_ca_certificate": PEM, "kaas_mock_host": "0.0.0.0"},
    "ipv6": {"kaas_mock_host": "2001:db8::1", "kaas_mock_variables": {"kaas_agent_scrape_interval": "5s", "observer_namespace": "other"}},
    "kind": {"kaas_mock_provider": "kind", "kaas_mock_user": "kaas", "kaas_mock_environment": {"HTTPS_PROXY": SECRET, "NUMBER": 1}},
}
REFUSED: dict[str, tuple[dict[str, t.Any], str]] = {
    "prefix": ({"kaas_mock_prefix": "/opt"}, "/opt is no absolute path of at least two folders"),
    "dots": ({"kaas_mock_state_dir": "/var/lib/../etc"}, "/var/lib/../etc is no absolute path"),
    "same": ({"kaas_mock_config_dir": "/opt/kaas_mock"}, "have to be three different folders"),
    "user": ({"kaas_mock_user": "kaas"}, 'kaas_mock_user: "kaas" can not make clusters of the provider source. Use root'),
    "port": ({"kaas_mock_port": 0}, "kaas_mock_port: 0 is no port"),
    "half": ({"kaas_mock_tls_certificate": PEM}, "kaas_mock_tls_certificate and kaas_mock_tls_key belong together"),
    "path": ({"kaas_mock_tls_certificate": "/etc/tls.crt", "kaas_mock_tls_key": KEY}, "kaas_mock_tls_certificate is no PEM text"),
    "url": ({"kaas_mock_url": "kaas.example.com"}, 'kaas_mock_url: "kaas.example.com" is no URL without a path'),
    "open": ({"kaas_mock_auth": False, "kaas_mock_host": "0.0.0.0"}, "would give every cluster's kubeconfig to whoever reaches that address"),
    "token": ({"kaas_mock_tokens": {"alice": "short"}}, "kaas_mock_tokens: the token of alice is none"),
    "twice": ({"kaas_mock_tokens": {"alice": "a" * 32, "bob": "a" * 32}}, "one token under two names"),
    "name": ({"kaas_mock_tokens": {"al ice": "a" * 32}}, "kaas_mock_tokens: al ice is no name"),
    "environment": ({"kaas_mock_environment": {"A-B": "x"}}, "kaas_mock_environment: A-B is no name of an environment variable"),
    "many": ({"kaas_mock_max_clusters": 90, "kaas_mock_provider": "kind"}, "kaas_mock_max_clusters: 90 is not from 1 to 89"),
    "parallel": ({"kaas_mock_parallel": 0}, "kaas_mock_parallel: 0 is not from 1 to 20"),
    "index": ({"kaas_mock_first_index": 85}, "kaas_mock_first_index 85 and kaas_mock_max_clusters 10 leave the indexes 1 to 89"),
    "kubeconfig": ({"kaas_mock_observer_kubeconfig": ""}, "kaas_mock_observer_kubeconfig is empty"),
    "missing": ({"kaas_mock_observer_kubeconfig": "/nowhere"}, "there is no file /nowhere on the controller"),
    "receive": ({"kaas_mock_receive_url": "http://10.0.0.1"}, 'kaas_mock_receive_url: "http://10.0.0.1" is no https:// URL'),
}


def playbook(path: Path, *words: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_STDOUT_CALLBACK": "default", "ANSIBLE_BECOME": "0"}
    return subprocess.run(
        [str(BIN / "ansible-playbook"), str(path), *words], cwd=TOP, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def inventory(folder: Path, hosts: t.Mapping[str, t.Mapping[str, t.Any]], group: str = "all") -> str:
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
    path = folder / "hosts.json"
    path.write_text(json.dumps({group: {"hosts": {name: {**common, **variables} for name, variables in hosts.items()}}}))
    return str(path)


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("observer") / "kubeconfig"
    path.write_text("users: [{token: hidden-token}]\n")
    return path


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory, kubeconfig: Path) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    given = {"kaas_mock_observer_kubeconfig": str(kubeconfig), "kaas_mock_receive_url": "https://10.0.0.1:30291"}
    common = {"render_output": str(folder), "render_folder": str(ROLE / "templates"), "render_templates": TEMPLATES}
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    hosts = {
        name: {**common, **defaults, "kaas_mock_observer_context": "", "kaas_mock_observer_namespace": "observer", **given, **variables}
        for name, variables in [*VARIANTS.items(), *((name, variables) for name, (variables, _said) in REFUSED.items())]
    }
    done = playbook(Path(__file__).with_name("render.yml"), "-i", inventory(folder, hosts))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def rendered(output: Path) -> t.Callable[[str], dict[str, t.Any]]:
    def load(variant: str) -> dict[str, t.Any]:
        failed = output / f"{variant}.failed.json"
        assert not failed.exists(), failed.read_text()
        return json.loads((output / f"{variant}.json").read_text())

    return load


# -- what is written ------------------------------------------------------------
@pytest.mark.parametrize("variant", VARIANTS)
def test_settings_are_the_services(rendered: t.Callable[[str], dict[str, t.Any]], variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("KAAS_MOCK_")]:
        monkeypatch.delenv(name)
    settings = tomllib.loads(rendered(variant)["settings.toml.j2"])
    # files that the role puts elsewhere
    for name in ("variables", "ansible_playbook", "tls_certificate", "tls_key"):
        if name in settings:
            (tmp_path / name).touch()
            settings[name] = str(tmp_path / name)
    found = Settings(**settings)
    given = VARIANTS[variant]
    assert found.port == int(given.get("kaas_mock_port", 8080))
    assert found.auth == (given.get("kaas_mock_auth", "true") == "true")
    assert found.provider == given.get("kaas_mock_provider", "source")
    assert bool(found.tls_key) == (variant == "tls")


def test_defaults_are_those_of_the_service() -> None:
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    shared = {name: field.default for name, field in Settings.model_fields.items() if f"kaas_mock_{name}" in defaults}
    assert {"max_clusters", "parallel", "port", "host", "auth", "first_index", "state_dir", "provider"} <= set(shared)
    plain = {name: str(value) if isinstance(value, Path) else value or "" for name, value in shared.items()}
    assert {name: defaults[f"kaas_mock_{name}"] or "" for name in plain} == plain


def test_role_offers_every_setting() -> None:
    asked = set(re.findall(r"^([a-z_]+) = ", (ROLE / "templates" / "settings.toml.j2").read_text(), re.MULTILINE))
    assert set(Settings.model_fields) - asked == {"tokens_file"}, "it is where the service looks for it"


def test_urls(rendered: t.Callable[[str], dict[str, t.Any]]) -> None:
    found = {variant: rendered(variant)["url"] for variant in VARIANTS}
    assert found["plain"] == "http://127.0.0.1:8080" and found["tls"] == "https://127.0.0.1:8080" and found["ipv6"] == "http://[2001:db8::1]:8080"


def test_own_variables_win(rendered: t.Callable[[str], dict[str, t.Any]]) -> None:
    assert rendered("plain")["run_variables"] == {
        "observer_kubeconfig": "/etc/kaas_mock/observer.kubeconfig",
        "observer_context": "",
        "observer_namespace": "observer",
        "observer_receive_public_url": "https://10.0.0.1:30291",
    }
    assert rendered("ipv6")["run_variables"].items() >= {"observer_namespace": "other", "kaas_agent_scrape_interval": "5s"}.items()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["with_environment", "kaas_mock", "kaas_mock_clusters"])
def test_starters_are_shell(rendered: t.Callable[[str], dict[str, t.Any]], name: str, variant: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(rendered(variant)[f"{name}.sh.j2"])
    assert subprocess.run(["sh", "-n", str(path)], capture_output=True, text=True, check=False).stderr == ""
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", "--exclude=SC1091", str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_environment_is_taken_as_it_is(rendered: t.Callable[[str], dict[str, t.Any]], tmp_path: Path) -> None:
    path = tmp_path / "environment"
    path.write_text(rendered("kind")["environment.j2"])
    shell = f"set -a; . {shlex.quote(str(path))}; env -0"
    values = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout.split("\0")
    assert f"HTTPS_PROXY={SECRET}" in values and "NUMBER=1" in values
    assert all(SECRET not in text for name, text in rendered("kind").items() if name not in ("environment.j2",))


@pytest.mark.parametrize("variant", ["plain", "kind"])
def test_unit_is_one_for_systemd(rendered: t.Callable[[str], dict[str, t.Any]], variant: str, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if not program:
        pytest.skip("systemd-analyze is not installed")
    # the programs that it names have to be there
    text = rendered(variant)["kaas_mock.service.j2"].replace("/opt/kaas_mock/bin/kaas_mock", "/bin/true").replace("User=kaas\n", "User=daemon\n")
    path = tmp_path / "kaas_mock.service"
    path.write_text(text)
    done = subprocess.run([program, "verify", "--man=no", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, [line for line in done.stderr.splitlines() if "kaas_mock" in line]) == (0, "", []), done.stderr


def test_clusters_outlive_the_service(rendered: t.Callable[[str], dict[str, t.Any]]) -> None:
    """Those of the provider source are its children, and those of kind are Docker's."""
    source, kind = rendered("plain")["kaas_mock.service.j2"], rendered("kind")["kaas_mock.service.j2"]
    assert "KillMode=process\n" in source and "OOMPolicy=continue\n" in source
    assert not re.search(r"^(Protect|Private|Restrict|NoNew|SystemCall|Capability|Lock|UMask)", source, re.MULTILINE), "it would hold for the clusters too"
    assert {"ProtectSystem=strict", "NoNewPrivileges=true", "CapabilityBoundingSet=", "KillMode=mixed"} <= set(kind.splitlines())
    supervisor = rendered("plain")["supervisord.conf.j2"].splitlines()
    assert {"stopasgroup=false", "killasgroup=false"} <= set(supervisor)


# -- what is refused ------------------------------------------------------------
@pytest.mark.parametrize("case", REFUSED)
def test_bad_variables_are_refused_by_one_message(output: Path, case: str) -> None:
    path = output / f"{case}.failed.json"
    assert path.exists(), "it was taken"
    messages = json.loads(path.read_text())
    assert len(messages) == 1 and REFUSED[case][1] in messages[0], messages
    assert "KEY" not in messages[0] and "a" * 32 not in messages[0]


# -- what it is made of ---------------------------------------------------------
def test_requirements_are_those_of_the_lock(tmp_path: Path) -> None:
    version = re.search(r"^uv_version=(.+)$", (TOP / "tools" / "setup-python").read_text(), re.MULTILINE)
    assert version
    if not (CACHE / f"uv-{version[1]}" / "bin" / "uv").exists():
        pytest.skip("uv is not there: make venv")
    subprocess.run([str(TOP / "tools" / "export-requirements"), str(tmp_path / "made.txt")], check=True, timeout=60)
    assert (ROLE / "files" / "requirements.txt").read_text() == (tmp_path / "made.txt").read_text(), "run tools/export-requirements"


def test_every_requirement_has_a_hash() -> None:
    text = (ROLE / "files" / "requirements.txt").read_text()
    packages = re.findall(r"^[a-z0-9-]+==\S+(?: ;[^\\]+)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.MULTILINE)
    assert len(packages) == len(re.findall("^[a-z]", text, re.MULTILINE)) > 40
    assert "://" not in text


def test_debian_packages_are_those_of_the_lab() -> None:
    text = (TOP / "tools" / "setup-system").read_text()
    listed = re.search(r"packages=\((.*?)\)", text, re.DOTALL)
    assert listed
    # what only tests need
    wanted = set(listed[1].split()) - {"chromium", "chromium-driver", "openssh-client", "shellcheck"}
    assert set(yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["__kaas_mock_packages"]["source"]) == wanted


def test_pack_is_the_collection_and_always_the_same(tmp_path: Path) -> None:
    top = tmp_path / "top"
    for path in ("roles/a/tasks/main.yml", "plugins/x.py", "plugins/__pycache__/x.pyc", "tests/t.py", ".git/config", "playbooks/p.yml", "meta/runtime.yml"):
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(path)
    program = [sys.executable, str(ROLE / "files" / "pack_collection.py"), str(top)]
    (top / "plugins" / "x.py").chmod(0o755)
    first = subprocess.run([*program, str(tmp_path / "1.tar")], capture_output=True, text=True, check=True).stdout.strip()
    os.utime(top / "plugins" / "x.py", (1, 1))
    assert subprocess.run([*program, str(tmp_path / "2.tar")], capture_output=True, text=True, check=True).stdout.strip() == first
    assert hashlib.sha256((tmp_path / "1.tar").read_bytes()).hexdigest() == first
    with tarfile.open(tmp_path / "1.tar") as archive:
        modes = {member.name: member.mode for member in archive.getmembers()}
    assert modes == {"meta/runtime.yml": 0o644, "playbooks/p.yml": 0o644, "plugins/x.py": 0o755, "roles/a/tasks/main.yml": 0o644}
    (top / "plugins" / "x.py").write_text("changed")
    assert subprocess.run([*program, str(tmp_path / "3.tar")], capture_output=True, text=True, check=True).stdout.strip() != first


# -- check mode -----------------------------------------------------------------
def test_check_mode_of_a_fresh_machine_is_complete_and_touches_nothing(tmp_path: Path, kubeconfig: Path) -> None:
    place = tmp_path / "machine"
    variables = {
        "kaas_mock_prefix": f"{place}/opt",
        "kaas_mock_config_dir": f"{place}/etc",
        "kaas_mock_state_dir": f"{place}/state",
        "kaas_mock_service": "supervisor",
        "kaas_mock_install_packages": False,
        "kaas_mock_observer_kubeconfig": str(kubeconfig),
        "kaas_mock_receive_url": "https://10.0.0.1:30291",
        "kaas_mock_tokens": {"admin": "hidden-token-of-an-admin"},
        "kaas_mock_environment": {"HTTPS_PROXY": "hidden-proxy"},
        "kaas_mock_tls_certificate": PEM,
        "kaas_mock_tls_key": KEY.replace("x", "hidden-key"),
    }
    done = playbook(TOP / "playbooks" / "kaas_mock.yml", "--check", "--diff", "-vvv", "-i", inventory(tmp_path, {"machine": variables}, "kaas_mock"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert not place.exists()
    assert re.search(r"changed=1\d ", done.stdout), done.stdout[-500:]
    # the settings are shown, and no secret is
    assert "+max_clusters = 10" in done.stdout
    assert "hidden-" not in done.stdout + done.stderr
