"""Measures the registry against a real API server (etcd and kube-apiserver on loopback, those of the integration tests); prints a Markdown table.

    python benchmarks/registry.py [--save] [--runs 3] [--clusters 1000] [--loop 20]

Clusters are registered, ten of them changed, all unregistered, by one task of kaas_clusters each; beside it, in the same run, fewer clusters by a
loop of kubernetes.core.k8s. Seconds are those of whole tasks in ansible-playbook, requests are counted in the API server's audit log. With --save the table
takes its place in benchmarks/README.md. Needs `make venv` and `make programs`.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import pathlib
import signal
import statistics
import sys
import tempfile
import typing as t

import lab
from _api_server import api_server

STEPS = ("register", "change", "none", "unregister")
CHANGED = 10


def clusters(number: int) -> dict[str, list[dict[str, t.Any]]]:
    labels = {"customer": "customer-a", "name": "Production of customer A", "region": "west", "tier": "gold"}
    found = [{"name": f"cluster-{position:04}", "role": "kaas", "labels": labels, "description": "Written up in the contract"} for position in range(number)]
    return {"clusters": found, "clusters_changed": [item | {"description": "new"} if position < CHANGED else item for position, item in enumerate(found)]}


def requests_between(events: list[dict[str, t.Any]], begin: float, end: float) -> int:
    moments = [datetime.datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp() for event in events if event.get("userAgent") != "test"]
    return sum(begin <= moment < end for moment in moments)


def turn(server: t.Any, folder: pathlib.Path, options: argparse.Namespace) -> dict[str, list[tuple[float, int]]]:
    """Seconds and requests of each step, ours and the loop's."""
    base = "/api/v1/namespaces/bench-core/configmaps"
    server.request("DELETE", f"{base}/kaas-clusters")
    server.request("POST", base, {"metadata": {"name": "kaas-clusters"}, "data": {}})
    result, variables = folder / "moments.json", folder / "variables.json"
    settings = {"kubeconfig": server.kubeconfig, "loops": options.loop, "result": str(result)}
    variables.write_text(json.dumps(clusters(options.clusters) | settings))
    lab.playbook("-i", "localhost,", str(lab.PLAYS / "registry.yml"), "-e", f"@{variables}")
    moments = json.loads(result.read_text())
    server.audit()
    events = [json.loads(line) for line in (server.folder / "audit.log").read_text().splitlines() if line.endswith("}")]
    spans = [(end - begin, requests_between(events, begin, end)) for begin, end in itertools.pairwise(moments)]
    # between the two lies the check
    return {"ours": spans[: len(STEPS)], "loop": spans[len(STEPS) + 1 :]}


def measure(options: argparse.Namespace) -> str:
    with tempfile.TemporaryDirectory(prefix="scs-observer-") as name, api_server(pathlib.Path(name)) as server:
        for namespace in ("bench-ours", "bench-core"):
            server.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        turns = [turn(server, pathlib.Path(name), options) for _run in range(options.runs)]
    titles = {
        "register": f"{options.clusters} registered",
        "change": f"{CHANGED} of {options.clusters} changed",
        "none": f"{options.clusters} unchanged",
        "unregister": f"{options.clusters} unregistered",
    }
    rows: lab.Rows = []
    sums = {"ours": 0.0, "loop": 0.0}
    for position, step in enumerate(STEPS):
        size = CHANGED if step == "change" else options.loop
        factor = 1 if step == "change" else options.clusters / options.loop
        ours, loop = ([found[way][position] for found in turns] for way in ("ours", "loop"))
        seconds = {way: statistics.median(taken for taken, _requests in found) for way, found in (("ours", ours), ("loop", loop))}
        if step != "none":
            sums["ours"] += seconds["ours"]
            sums["loop"] += seconds["loop"] * factor
        rows.append(
            (
                titles[step],
                f"{seconds['ours']:.2f} ({', '.join(f'{taken:.2f}' for taken, _requests in ours)})",
                ", ".join(sorted({str(requests) for _taken, requests in ours})),
                f"{size}: {seconds['loop']:.1f} ({', '.join(f'{taken:.1f}' for taken, _requests in loop)})",
                f"{size}: {', '.join(sorted({str(requests) for _taken, requests in loop}))}",
                f"{seconds['loop'] * factor:.0f}" + ("" if factor == 1 else " (extrapolated)"),
                f"**{seconds['loop'] * factor / seconds['ours']:.0f}**",
            )
        )
    rows.append(
        (
            "registered, changed and unregistered",
            f"{sums['ours']:.2f}",
            "",
            "",
            "",
            f"{sums['loop']:.0f} (extrapolated)",
            f"**{sums['loop'] / sums['ours']:.0f}**",
        )
    )
    head = ("clusters", "kaas_clusters, seconds", "requests", "loop of kubernetes.core.k8s, seconds", "requests", "the loop for as many, seconds", "ratio")
    turns_made = "One turn" if options.runs == 1 else f"Median of {options.runs} turns (each of them in brackets)"
    return f"{turns_made}, which runs both ways one after the other.\n\n{lab.table(head, rows)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clusters", type=int, default=1000)
    parser.add_argument("--loop", type=int, default=20, help="clusters of the loop")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--save", action="store_true", help="write the table into benchmarks/README.md")
    options = parser.parse_args()
    if not CHANGED <= options.loop <= options.clusters:
        parser.error(f"--loop is at least {CHANGED} and at most --clusters")
    # so that a run that is stopped stops its API server
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    where = lab.machine()
    command = " ".join(["python benchmarks/registry.py", *(word for word in sys.argv[1:] if word != "--save")])
    text = f"`{command}`. {where}\n\n{measure(options)}"
    print(text)
    if options.save:
        lab.save("registry", text)


if __name__ == "__main__":
    main()
