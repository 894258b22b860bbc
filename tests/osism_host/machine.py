"""Makes and removes the machines: the lab's network, cgroup and removal, but Debian's systemd as first process."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import time
import typing as t
from pathlib import Path

from ansible_collections.scs.observer.plugins.module_utils import _lab_machine as lab
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._lab_images import debian_mirror
from ansible_collections.scs.observer.plugins.module_utils._lab_programs import find_archive, find_build

FILES = Path(__file__).parent / "files"
PROGRAMS = Path(__file__).parents[2] / "roles" / "lab_cluster" / "files" / "programs"
CACHE = Path(os.environ.get("SCS_OBSERVER_CACHE", Path.home() / ".cache" / "scs-observer"))
ROOT = Path("/var/lib/scs-observer-osism")
MANAGER, SECOND = "testbed-manager", "testbed-monitoring"
INDEX = 90
DRAGON = 45000
PASSWORD = "password"
KOLLA_IMAGES = {"registry.osism.tech/kolla/prometheus-v2-server:2024.2": "prometheus_2", "registry.osism.tech/kolla/prometheus-server:2025.1": "prometheus"}


def rootfs() -> Path:
    """The root file system in the cache; made where it is missing, which takes about two minutes."""
    script = FILES / "make_rootfs.sh"
    digest = hashlib.sha256(script.read_bytes()).hexdigest()[:16]
    folder = CACHE / "osism_host"
    made = folder / f"rootfs-{digest}"
    with lab.lock("osism-rootfs"):
        if made.is_dir():
            return made
        mirror = debian_mirror()
        if mirror is None:
            raise ObserverError("this machine's apt has no mirror of Debian 12, from which the OSISM test host is made; run on Debian 12")
        for older in folder.glob("rootfs-*"):
            shutil.rmtree(older)
        partial = folder / f"rootfs-{digest}.partial"
        log = folder / "make_rootfs.log"
        folder.mkdir(parents=True, exist_ok=True)
        with log.open("w") as handle:
            command = ["sh", str(script), str(partial), mirror, str(folder / "packages")]
            # In a mount namespace of its own, for debootstrap leaves mounts behind when it is killed.
            done = subprocess.run(["unshare", "--mount", "--propagation", "private", *command], stdout=handle, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            tail = log.read_text(errors="replace")[-1500:]
            raise ObserverError(f"the root file system of the OSISM test host was not made; the end of {log}:\n{tail}")
        shutil.rmtree(folder / "packages")
        partial.rename(made)
    return made


class OsismMachine(lab.Machine):
    """One machine of the testbed; C(run) is a command inside of it."""

    def __init__(self, name: str, root: Path = ROOT, first_index: int = INDEX) -> None:
        super().__init__(root, name, first_index + (name == SECOND))

    def boot(self) -> None:
        system = rootfs()
        self.check_place()
        self.remove()
        (self.state / "log").mkdir(parents=True)
        with lab.lock(), (self.state / "log" / "machine.log").open("ab") as log:
            lab._raise_limits()
            namespaces = ("unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--propagation", "private")
            first = ("sh", str(FILES / "init.sh"), str(self.state), str(system), self.name)
            outer = subprocess.Popen(
                ["sh", "-c", lab.ENTER_CGROUP, "sh", str(self._make_cgroup()), *namespaces, *first],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
            pid = self._first_process(outer)
        lab.write_whole(self._pid_file, f"{pid} {lab._start_time(pid)}")
        self.connect(())
        # Before that its root file system is this machine's.
        lab._wait_until(lambda: self.pid is None or Path(f"/proc/{pid}/comm").read_text() == "systemd\n", 20, f"systemd of {self.name} has not started")

    def command(self, *words: str | Path) -> list[str]:
        return [
            "nsenter",
            "--target",
            str(self.pid),
            "--all",
            "env",
            "-i",
            "HOME=/run",
            "LANG=C.UTF-8",
            "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            *map(str, words),
        ]

    def run(self, *words: str | Path, check: bool = True, **options: t.Any) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(self.command(*words), capture_output=True, text=True, check=False, **options)
        if check and result.returncode:
            raise ObserverError(f"{self.name}: '{' '.join(map(str, words))}' failed ({result.returncode}): {(result.stdout + result.stderr).strip()[-2000:]}")
        return result

    def sh(self, script: str, *words: str, check: bool = True) -> str:
        return self.run("sh", "-ec", script, "sh", *words, check=check).stdout

    def write(self, path: str, text: str | bytes, mode: int = 0o644, owner: int = 0) -> None:
        self.put({path: text}, mode=mode, owner=owner)

    def put(self, files: t.Mapping[str, str | bytes | Path], *, mode: int = 0o644, owner: int = 0) -> None:
        """Files by their paths inside; what is a path is a file or a folder of this machine."""
        buffer = io.BytesIO()

        def own(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
            member.uid = member.gid = owner
            return None if "__pycache__" in member.name else member

        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for path, content in files.items():
                if isinstance(content, Path):
                    tar.add(content, path.lstrip("/"), filter=own)
                    continue
                data = content.encode() if isinstance(content, str) else content
                member = tarfile.TarInfo(path.lstrip("/"))
                member.size, member.mode = len(data), mode
                tar.addfile(own(member), io.BytesIO(data))
        done = subprocess.run(self.command("tar", "-C", "/", "--no-overwrite-dir", "-x"), input=buffer.getvalue(), capture_output=True, check=False)
        if done.returncode:
            raise ObserverError(f"{self.name}: files were not written: {done.stderr.decode()[-500:]}")

    def wait(self, script: str, seconds: float, what: str) -> str:
        """Until the shell script ends well; gives back its output."""
        end = time.monotonic() + seconds
        while True:
            done = self.run("sh", "-ec", script, check=False) if self.pid else None
            if done and done.returncode == 0:
                return done.stdout
            if time.monotonic() > end:
                said = (done.stdout + done.stderr)[-1000:] if done else (self.state / "log" / "machine.log").read_text()[-1000:]
                raise ObserverError(f"{self.name}: {what} after {seconds:.0f} s: {said}")
            time.sleep(0.3)


class Host:
    """The testbed: its manager, and on request a second machine with a Prometheus. C(first_index) is the manager's in the lab's network."""

    def __init__(self, names: t.Sequence[str] = (MANAGER,), root: Path = ROOT, first_index: int = INDEX) -> None:
        self.root = root
        self.all = {name: OsismMachine(name, root, first_index) for name in (MANAGER, SECOND)}
        self.machines = {name: self.all[name] for name in names}
        self.key = root / "id_rsa.operator"
        self.inventory = root / "inventory.yml"

    @property
    def manager(self) -> OsismMachine:
        return self.machines[MANAGER]

    def up(self, release: str = "2024.2") -> None:
        """Start, or start again what is broken; the rest is left as it is."""
        lab.check_machine(self.root / max(self.all, key=len), "debootstrap", "ssh", "ssh-keygen")
        self.root.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not self.key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "operator", "-f", str(self.key)], check=True)
        for machine in self.machines.values():
            machine.boot()
        for machine in self.machines.values():
            self._prepare(machine)
        self._configure(release)
        self._write_inventory()
        self.apply_prometheus()

    def add(self, name: str = SECOND) -> None:
        """One more Prometheus host beside the manager, known to OSISM by a commit."""
        self.machines[name] = self.all[name]
        self.machines[name].boot()
        self._prepare(self.machines[name])
        self._write_inventory()
        self.manager.sh("""cd /opt/configuration; sudo -u dragon sh -ec "echo $1 >>inventory/10-custom; git commit --quiet --all --message second" """, name)
        self.apply_prometheus()

    def apply_prometheus(self, *words: str) -> None:
        self.osism("apply", *words, "prometheus")
        for name in self.machines:
            self.wait_for_prometheus(name)

    def wait_for_prometheus(self, name: str = MANAGER) -> None:
        machine = self.machines[name]
        asked = f"curl --silent --fail --user admin:{PASSWORD} http://{machine.address}:9091/-/ready"
        machine.wait(f"{asked} || {{ docker logs --tail 2 prometheus_server; exit 1; }}", 90, "Prometheus is not ready")

    def down(self) -> None:
        for machine in self.all.values():
            machine.remove()
        lab.sweep(self.root)
        shutil.rmtree(self.root, ignore_errors=True)

    def osism(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """The stand-in for OSISM's command line, as the operator's user."""
        return self.manager.run("sudo", "-u", "dragon", "-H", "osism", *words, check=check, timeout=300)

    def _prepare(self, machine: OsismMachine) -> None:
        public = self.key.with_suffix(".operator.pub").read_text()
        machine.sh("install -d -m 755 /opt/ansible /opt/ansible/secrets; install -d -m 700 -o dragon -g dragon /home/dragon/.ssh")
        hosts = "".join(f"{other.address} {other.name}\n" for other in self.all.values())
        machine.write("/etc/hosts", f"127.0.0.1 localhost\n{hosts}")
        machine.put({"/home/dragon/.ssh/authorized_keys": public, "/opt/ansible/secrets/id_rsa.operator": self.key.read_bytes()}, mode=0o600, owner=DRAGON)
        machine.write("/etc/systemd/system/osism.target", "[Unit]\nDescription=OSISM target\n[Install]\nWantedBy=default.target\n")
        machine.write("/etc/systemd/system/kolla.target", "[Unit]\nDescription=Kolla target\n[Install]\nWantedBy=default.target\n")
        machine.wait("docker info >/dev/null 2>&1", 60, "Docker does not answer")
        thanos, python = (find_archive(name, PROGRAMS, CACHE) for name in ("thanos", "python"))
        for archive in (thanos, python):
            if not archive.done:
                raise ObserverError(f"the lab's image {archive.path} is missing; 'make programs' makes it")
            with archive.path.open("rb") as content:
                subprocess.run(machine.command("docker", "load", "--quiet"), stdin=content, check=True, capture_output=True)
        for reference, program in KOLLA_IMAGES.items():
            build = find_build(program, PROGRAMS / program, CACHE)
            if not build.done:
                raise ObserverError(f"the program {program} is not built; 'make programs' builds it")
            self._build_image(machine, reference, build.output / "prometheus")

    def _build_image(self, machine: OsismMachine, reference: str, program: Path) -> None:
        command = machine.command("env", "DOCKER_BUILDKIT=0", "docker", "build", "--quiet", "--tag", reference, "-")
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as building:
            # Docker knows an archive by its first block, which is another one in the format pax.
            with tarfile.open(fileobj=building.stdin, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
                for path in sorted((FILES / "kolla_image").iterdir()):
                    tar.add(path, path.name)
                tar.add(program, "prometheus")
            said, _none = building.communicate()
        if building.returncode:
            raise ObserverError(f"{machine.name}: the image {reference} was not built: {said.decode()[-1500:]}")

    def _configure(self, release: str) -> None:
        """/opt/configuration as a checkout, and the stand-in for C(osism)."""
        manager = self.manager
        manager.put({"/opt/configuration": FILES / "configuration"}, owner=DRAGON)
        for machine in self.all.values():
            addresses = f"---\nansible_host: {machine.address}\ninternal_address: {machine.address}\n"
            manager.write(f"/opt/configuration/inventory/host_vars/{machine.name}/vars.yml", addresses, owner=DRAGON)
        if SECOND in self.machines:
            manager.sh(f"echo {SECOND} >>/opt/configuration/inventory/10-custom")
        manager.put({"/usr/local/share/osism-double": FILES / "osism"})
        manager.sh(
            """
            sed -i "s/^openstack_version:.*/openstack_version: \\"$1\\"/" /opt/configuration/environments/manager/configuration.yml
            { echo '#!/usr/bin/python3'; cat /usr/local/share/osism-double/osism; } >/usr/local/bin/osism
            chmod 755 /usr/local/bin/osism
            install -m 666 /dev/null /var/log/osism-double.log
            chown -R dragon:dragon /opt/configuration
            cd /opt/configuration
            sudo -u dragon sh -c 'git init -q -b main && git config user.name lab && git config user.email lab@example.com && git add . && git commit -qm lab'
            """,
            release,
        )

    def _write_inventory(self) -> None:
        """How Ansible on this machine reaches them."""
        common = {
            "ansible_user": "dragon",
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        hosts = {name: {"ansible_host": machine.address, "internal_address": machine.address} for name, machine in self.machines.items()}
        groups = {
            "testbed-managers": {"hosts": {MANAGER: {}}},
            "manager": {"children": {"testbed-managers": {}}},
            "monitoring": {"hosts": {name: {} for name in hosts}},
            "prometheus": {"children": {"monitoring": {}}},
        }
        self.inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": common, "children": groups}}, indent=2))
