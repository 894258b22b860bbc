"""Measures the lab and the playbooks on this machine; prints a Markdown table for each thing measured.

    python benchmarks/lab.py create              a lab cluster of its own ("bench"), made three times
    python benchmarks/lab.py manifests           60 unchanged objects, kubernetes_manifests beside kubernetes.core.k8s
    python benchmarks/lab.py playbooks           second run of observer and kaas_onboard (the lab of -i has to be up)
    python benchmarks/lab.py memory              memory and series of all that runs in the lab of -i
    python benchmarks/lab.py demo [--cold]       `make demo` as a user runs it; --cold with an empty cache; --log FILE reads the output of a run
    python benchmarks/lab.py clean               removes the cluster "bench"

With --save the table takes its place in benchmarks/README.md. Needs root, and `make venv`.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import typing as t
import urllib.parse

TOP = pathlib.Path(__file__).parents[1]
BIN = pathlib.Path(sys.executable).parent
PLAYS = pathlib.Path(__file__).parent / "plays"
TABLES = pathlib.Path(__file__).parent / "README.md"
CACHE = pathlib.Path(os.environ.get("SCS_OBSERVER_CACHE") or pathlib.Path.home() / ".cache" / "scs-observer")
ROOT = pathlib.Path("/var/lib/scs-observer-lab")
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    "ANSIBLE_CONFIG": str(TOP / "ansible.cfg"),
    "ANSIBLE_COLLECTIONS_PATH": os.pathsep.join([str(TOP / ".cache" / "tree"), sysconfig.get_path("purelib")]),
    "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
    "ANSIBLE_NOCOLOR": "1",
}
Rows = list[tuple[str, ...]]
SERIES = 'sum by (cluster) (scrape_samples_post_metric_relabeling{cluster!="",observer=""})'


def machine() -> str:
    information = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*:\s*(.+)", information)
    memory = re.search(r"MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text())
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=TOP, capture_output=True, text=True, check=False).stdout.strip()
    gigabytes = int(memory[1]) / 1024**2 if memory else 0
    return (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC, commit {commit or 'unknown'}; {os.cpu_count()} cores {model[1] if model else 'unknown'}, "
        f"{gigabytes:.0f} GiB, Linux {platform.release().split('-')[0]}; load at the start {os.getloadavg()[0]:.1f}."
    )


def table(head: t.Sequence[str], rows: Rows) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [tuple(head), ("---",) * len(head), *rows])


def playbook(*arguments: str) -> tuple[float, str]:
    """Seconds and output of an ansible-playbook that has to succeed."""
    begin = time.monotonic()
    done = subprocess.run([str(BIN / "ansible-playbook"), *arguments], cwd=TOP, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - begin
    if done.returncode != 0:
        sys.exit(f"ansible-playbook {' '.join(arguments)} failed:\n{done.stdout[-4000:]}\n{done.stderr[-2000:]}")
    return seconds, done.stdout


def bench_cluster(state: str = "present", *, build: bool = False) -> tuple[float, dict[str, float]]:
    """Seconds of the whole play, and the module's own by step."""
    with tempfile.NamedTemporaryFile(suffix=".json") as result:
        seconds, _output = playbook(
            "-i", "localhost,", str(PLAYS / "create.yml"), "-e", json.dumps({"lab_cluster_state": state, "lab_cluster_build": build, "result": result.name})
        )
        steps = json.loads(pathlib.Path(result.name).read_text() or "{}")
    return seconds, steps


def create(options: argparse.Namespace) -> str:
    bench_cluster("absent")
    bench_cluster(build=True)
    runs, removals = [], []
    for _run in range(options.runs):
        removals.append(bench_cluster("absent")[0])
        runs.append(bench_cluster())
    names = {
        "machine_started": "namespaces and first process",
        "api_ready": "API server ready",
        "node_ready": "node Ready",
        "images_imported": "seven images imported",
    }
    rows: Rows = []
    for key in runs[0][1]:
        values = [steps[key] for _seconds, steps in runs]
        rows.append((names.get(key, key.replace("_", " ")), f"{statistics.median(values):.1f}", ", ".join(f"{value:.1f}" for value in values)))
    for name, values in (
        ("whole play (Ansible's start, DNS and storage class applied too)", [seconds for seconds, _steps in runs]),
        ("removal, whole play", removals),
    ):
        rows.append((name, f"{statistics.median(values):.1f}", ", ".join(f"{value:.1f}" for value in values)))
    return table(("a lab cluster, seconds from the start until", f"median of {options.runs}", "runs"), rows)


def manifests(options: argparse.Namespace) -> str:
    bench_cluster(build=True)
    with tempfile.NamedTemporaryFile(suffix=".json") as result:
        playbook(
            "-i", "localhost,", str(PLAYS / "manifests.yml"), "-e", f"kubeconfig={ROOT}/bench/kubeconfig", "-e", f"turns={options.runs} result={result.name}"
        )
        turns = json.loads(pathlib.Path(result.name).read_text())
    medians = {way: statistics.median(turn[way] for turn in turns) for way in ("ours", "core", "ssa", "loop")}
    names = {
        "ours": f"kubernetes_manifests, one task ({turns[0]['requests']} requests)",
        "core": "kubernetes.core.k8s, one task with a list",
        "ssa": "kubernetes.core.k8s, one task with a list, server-side apply",
        "loop": "kubernetes.core.k8s, a loop",
    }
    rows: Rows = [
        (name, f"{medians[way]:.2f}", f"{medians[way] / medians['ours']:.1f}", ", ".join(f"{turn[way]:.2f}" for turn in turns)) for way, name in names.items()
    ]
    return table(("60 unchanged objects by", f"seconds, median of {options.runs}", "ratio", "turns"), rows)


def changed(output: str) -> int:
    return sum(int(number) for number in re.findall(r"\bchanged=(\d+)", output))


def playbooks(options: argparse.Namespace) -> str:
    rows: Rows = []
    for name in ("observer", "kaas_onboard"):
        first = changed(playbook("-i", options.inventory, f"scs.observer.{name}")[1])
        runs = [playbook("-i", options.inventory, f"scs.observer.{name}") for _run in range(options.runs)]
        seconds = [took for took, _output in runs]
        note = f"{max(changed(output) for _took, output in runs)}" + (f" (the run before: {first})" if first else "")
        rows.append((f"`{name}`", f"{statistics.median(seconds):.1f}", note, ", ".join(f"{value:.1f}" for value in seconds)))
    return table(("second run of", f"seconds, median of {options.runs}", "changed", "runs"), rows)


def kubectl(kubeconfig: pathlib.Path, *arguments: str) -> str:
    command = [str(CACHE / "bin" / "kubectl"), "--kubeconfig", str(kubeconfig), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def containers(kubeconfig: pathlib.Path) -> dict[tuple[str, str], list[float]]:
    """Working set in MiB by namespace and container, one entry a pod, as the kubelets say."""
    found: dict[tuple[str, str], list[float]] = {}
    for node in kubectl(kubeconfig, "get", "nodes", "-o", "name").split():
        text = kubectl(kubeconfig, "get", "--raw", f"/api/v1/{node.replace('node/', 'nodes/')}/proxy/metrics/resource")
        for labels, value in re.findall(r"^container_memory_working_set_bytes\{([^}]*)\} (\S+)", text, re.MULTILINE):
            parts = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            found.setdefault((parts["namespace"], parts["container"]), []).append(float(value) / 1024**2)
    return found


def query(kubeconfig: pathlib.Path, expression: str) -> list[tuple[dict[str, str], float]]:
    words = urllib.parse.urlencode({"query": expression}, quote_via=urllib.parse.quote)
    answer = json.loads(kubectl(kubeconfig, "get", "--raw", f"/api/v1/namespaces/observer/services/thanos-query:9090/proxy/api/v1/query?{words}"))
    return [(series["metric"], float(series["value"][1])) for series in answer["data"]["result"]]


def clusters(inventory: str) -> dict[str, list[tuple[str, pathlib.Path]]]:
    """Hosts and kubeconfigs of the groups observer and kaas."""
    message = (
        "msg={{ group_names | intersect(['observer', 'kaas']) | first }} {{ inventory_hostname }} {{ lab_cluster_root }}/{{ lab_cluster_name }}/kubeconfig"
    )
    command = [str(BIN / "ansible"), "-i", inventory, "observer:kaas", "-m", "ansible.builtin.debug", "-a", json.dumps({"msg": message})]
    output = subprocess.run(command, cwd=TOP, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout
    found: dict[str, list[tuple[str, pathlib.Path]]] = {"observer": [], "kaas": []}
    for group, host, kubeconfig in sorted(re.findall(r"\b(observer|kaas) (\S+) (/[^\s\"']+/kubeconfig)", output)):
        found[group].append((host, pathlib.Path(kubeconfig)))
    return found


def whole(machine_pid: pathlib.Path) -> float:
    """MiB of all processes of a lab machine, memory that they share counted once (PSS)."""
    children: dict[int, list[int]] = {}
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(process.name))
    found, todo = 0.0, [int(machine_pid.read_text().split()[0])]
    while todo:
        pid = todo.pop()
        todo += children.get(pid, [])
        with contextlib.suppress(OSError):
            size = re.search(r"^Pss:\s+(\d+)", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
            found += int(size[1]) / 1024 if size else 0
    return found


def age(kubeconfig: pathlib.Path) -> float:
    """Minutes since the Observer's newest pod was started."""
    times = kubectl(kubeconfig, "-n", "observer", "get", "pods", "-o", "jsonpath={.items[*].status.startTime}").split()
    return (datetime.datetime.now(datetime.UTC) - max(map(datetime.datetime.fromisoformat, times))).total_seconds() / 60


def memory(options: argparse.Namespace) -> str:
    kubeconfigs = clusters(options.inventory)
    observer = kubeconfigs["observer"][0][1]
    rows: Rows = []
    found = {name: values for (namespace, name), values in containers(observer).items() if namespace == "observer"}
    for name, values in sorted(found.items(), key=lambda item: -sum(item[1])):
        rows.append((f"Observer: {name}", str(len(values)), f"{max(values):.0f}", f"{sum(values):.0f}"))
    rows.append(("**Observer, all**", str(sum(map(len, found.values()))), "", f"**{sum(map(sum, found.values())):.0f}**"))
    series = {metric["cluster"]: value for metric, value in query(observer, SERIES)}
    for host, kubeconfig in kubeconfigs["kaas"]:
        inside = containers(kubeconfig)
        for (namespace, name), values in sorted(inside.items()):
            if namespace.startswith("observer-agent"):
                rows.append((f"{host}: {name}", str(len(values)), f"{max(values):.0f}", f"{sum(values):.0f}"))
        total = sum(sum(values) for (namespace, _name), values in inside.items() if namespace.startswith("observer-agent"))
        rows.append((f"**{host}, agent in all**, {series.get(host, 0):.0f} series sent", "", "", f"**{total:.0f}**"))
    for host, kubeconfig in [*kubeconfigs["observer"], *kubeconfigs["kaas"]]:
        rows.append((f"the whole lab cluster {host}, its control plane too (PSS)", "", "", f"{whole(kubeconfig.parent / 'machine.pid'):.0f}"))
    pods = table(("container", "pods", "largest, MiB", "sum, MiB"), rows)
    head = query(observer, 'max by (tenant) (prometheus_tsdb_head_series{job="thanos-receive",tenant!="default-tenant"})')
    heads = ", ".join(f"{metric.get('tenant', '?')} {value:.0f}" for metric, value in sorted(head, key=lambda item: str(item[0])))
    return f"{pods}\n\nThe Observer's newest pod was {age(observer):.0f} minutes old. Active series in Receive by cluster: {heads or 'none'}."


def demo(options: argparse.Namespace) -> str:
    """Steps of `make demo` that took 10 s or more, from the lines the demo itself prints."""
    if options.log:
        text, seconds = pathlib.Path(options.log).read_text(), None
    else:
        subprocess.run(["make", "demo-down"], cwd=TOP, check=True, stdout=subprocess.DEVNULL)
        with tempfile.TemporaryDirectory(prefix="scs-observer-cold-", dir=options.cold_in) as empty:
            environment = {**os.environ, "SCS_OBSERVER_CACHE": empty} if options.cold else dict(os.environ)
            begin = time.monotonic()
            done = subprocess.run(["make", "demo"], cwd=TOP, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            seconds, text = time.monotonic() - begin, done.stdout
            subprocess.run(["chmod", "-R", "u+w", empty], check=True)
        sys.stderr.write(text)
        if done.returncode != 0:
            sys.exit("make demo failed")
    return table(("`make demo`, " + ("cold" if options.cold else "warm"), "minutes"), demo_rows(text, seconds))


def demo_rows(text: str, seconds: float | None) -> Rows:
    """Plays, and in them what took 10 s or more. A play's line carries the time of its begin, any other the time it took."""
    rows: Rows = []
    total = re.findall(r"^total (\d[\d:]*)", text, re.MULTILINE)
    begins = [(name, clock(at)) for name, at in re.findall(r"^▸ (.+) (\d[\d:]*)$", text, re.MULTILINE)]
    ends = [at for _name, at in begins[1:]] + ([clock(total[-1])] if total else [])
    took = {name: end - at for (name, at), end in zip(begins, ends, strict=False)}
    for line in text.splitlines():
        if (play := re.match(r"▸ (.+) \d[\d:]*$", line)) and play[1] in took:
            rows.append((f"**{play[1]}**", minutes(took[play[1]])))
        elif (step := re.match(r"(?!total |▸|…)(\S.*?) (\d+:\d\d(?::\d\d)?)$", line)) and clock(step[2]) >= 10:
            rows.append((step[1], step[2]))
    if total:
        rows.append(("the playbook in all", total[-1]))
    if seconds is not None:
        rows.append(("**the command in all**", f"**{minutes(int(seconds))}**"))
    return rows


def clock(text: str) -> int:
    """Seconds of 1:02 or 1:02:03."""
    return sum(int(part) * 60**power for power, part in enumerate(reversed(text.split(":"))))


def minutes(seconds: int) -> str:
    return f"{seconds // 60}:{seconds % 60:02}"


def save(section: str, text: str) -> None:
    old = TABLES.read_text()
    marker = re.compile(rf"(<!-- {section} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not marker.search(old):
        sys.exit(f"{TABLES} has no place for {section}")
    TABLES.write_text(marker.sub(lambda found: f"{found[1]}{text}\n{found[2]}", old))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["create", "manifests", "playbooks", "memory", "demo", "clean"])
    parser.add_argument("-i", "--inventory", default="inventories/lab", help="inventory of the lab to measure (playbooks, memory)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--save", action="store_true", help="write the table into benchmarks/README.md")
    parser.add_argument("--as", dest="section", help="the place in benchmarks/README.md, when it is not named as what is measured")
    parser.add_argument("--cold", action="store_true", help="demo: with an empty cache")
    parser.add_argument("--cold-in", help="demo: folder for the empty cache (24 GB)")
    parser.add_argument("--log", help="demo: the output of a run that was made already")
    options = parser.parse_args()
    if options.what == "clean":
        bench_cluster("absent")
        return
    where = machine()
    measured = {"create": create, "manifests": manifests, "playbooks": playbooks, "memory": memory, "demo": demo}[options.what](options)
    command = " ".join(["python benchmarks/lab.py", *(word for word in sys.argv[1:] if word != "--save")])
    text = f"`{command}`. {where}\n\n{measured}"
    print(text)
    if options.save:
        save(options.section or (f"demo-{'cold' if options.cold else 'warm'}" if options.what == "demo" else options.what), text)


if __name__ == "__main__":
    main()
