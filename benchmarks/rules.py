"""Measures alert_rules_check beside promtool; prints a Markdown table for each thing measured.

    python benchmarks/rules.py time [--rules 10000]        all checks of 10,000 rules, in turn with `promtool check rules`: seconds and memory
    python benchmarks/rules.py agree [--folder FOLDER...]  whether both call the same files valid: 200 broken ones that are made, and those in the folders

FOLDER holds rule files and PrometheusRule manifests, such as a public collection of rules. With --save the table takes its place in benchmarks/README.md.
Needs `make venv` and `make programs`.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t

import lab
import yaml

sys.path[:0] = [str(lab.TOP / ".cache" / "tree"), str(lab.TOP / "tests")]
PROMTOOL = str(lab.CACHE / "bin" / "promtool")
SEED = 5
ALERT = """      - record: cluster_job:requests_{number}:rate5m
        expr: sum by (cluster, job) (rate(requests_{number}_total{{job="x"}}[5m]))
      - alert: Busy{number}
        expr: |-
          (
            sum by (cluster, namespace, pod) (rate(container_{number}_cpu_seconds_total{{image!="", job=~"kubelet|cadvisor"}}[5m]))
              / on (cluster, namespace, pod) group_left (node)
            max by (cluster, namespace, pod, node) (kube_pod_info{{job="kube-state-metrics"}})
          ) > 0.9
        for: 5m
        labels:
          severity: warning
        annotations:
          summary: Pod {{{{ $labels.namespace }}}}/{{{{ $labels.pod }}}} of {{{{ $labels.cluster }}}} is busy
          description: >-
            Pod {{{{ $labels.pod }}}} on {{{{ $labels.node }}}} uses {{{{ $value | humanizePercentage }}}} of its CPU.
            Look at it, or give it more.
          runbook_url: https://example.com/runbooks/busy
"""
# A process of its own, as a task has; the module's options as they are by default.
CHECK = """
import json, sys
from ansible_collections.scs.observer.plugins.module_utils import _rules_options, _rules_report, _rules_run
from ansible_collections.scs.observer.plugins.modules import alert_rules_check
params = {name: about.get("default") for name, about in alert_rules_check.ARGUMENT_SPEC.items()}
report = _rules_run.check(_rules_options.options_from({**params, "paths": [sys.argv[1]], "promtool": sys.argv[2]}))
_rules_report.junit(report.cases, report.problems, "error")
print(json.dumps(report.summary()))
"""


def measured(command: t.Sequence[str]) -> tuple[float, float, float, str]:
    """Seconds, CPU seconds (of what it started too), MiB at most (of the process itself and of what it started, the larger), and output."""
    with tempfile.TemporaryFile("w+") as out:
        begin = time.monotonic()
        environment = {**os.environ, "PYTHONPATH": str(lab.TOP / ".cache" / "tree")}
        process = subprocess.Popen(command, stdout=out, env=environment)
        _pid, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{command[0]} ended with {process.returncode}")
        out.seek(0)
        return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, out.read()


def times(options: argparse.Namespace) -> str:
    groups = []
    for group in range(options.rules // 50):
        rules = "".join(ALERT.format(number=f"{group}_{number}") for number in range(25))
        groups.append(f"  - name: group-{group}\n    rules:\n{rules}")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write("groups:\n" + "".join(groups))
        file.flush()
        commands = {
            "`promtool check rules`": [PROMTOOL, "check", "rules", "--lint=none", file.name],
            "alert_rules_check, promtool beside it": [sys.executable, "-c", CHECK, file.name, PROMTOOL],
            "alert_rules_check without promtool": [sys.executable, "-c", CHECK, file.name, ""],
        }
        runs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
        for _run in range(options.runs):
            for name, command in commands.items():
                seconds, cpu, memory, output = measured(command)
                runs[name].append((seconds, cpu, memory))
                if "SUCCESS" not in output and json.loads(output)["rules"] != options.rules:
                    sys.exit(f"{name} did not see {options.rules} rules: {output}")
        size = pathlib.Path(file.name).stat().st_size / 2**20
    base, base_cpu = (statistics.median(column) for column in list(zip(*runs["`promtool check rules`"], strict=True))[:2])
    rows = []
    for name, found in runs.items():
        seconds, cpu, memory = zip(*found, strict=True)
        middle, used = statistics.median(seconds), statistics.median(cpu)
        times = (f"{middle:.2f}", f"{min(seconds):.2f} to {max(seconds):.2f}", f"{middle / base:.1f}", f"{used:.2f}", f"{used / base_cpu:.1f}")
        rows.append((name, *times, f"{max(memory):.0f}"))
    head = (
        f"{options.rules} rules, {size:.1f} MiB, {options.runs} runs in turn",
        "seconds (median)",
        "seconds",
        "times promtool's",
        "CPU seconds",
        "times promtool's",
        "MiB",
    )
    return lab.table(head, rows)


def agree(options: argparse.Namespace) -> str:
    from ansible_collections.scs.observer.plugins.module_utils import _rules_checks, _rules_promtool, _rules_run
    from rules_check.mutations import mutations

    verdicts = {name for name, check in _rules_checks.CHECKS.items() if check.verdict} | {"file"}

    def valid(text: str, promtool: str) -> bool:
        problems = _rules_run.check(_rules_run.Options(rules=(text,), promtool=promtool, dialect="prometheus")).problems
        return not any(problem.check in verdicts for problem in problems)

    rows = []

    def compare(name: str, texts: dict[str, str], asked: dict[str, list[str]]) -> None:
        """texts go to the module; asked are what promtool gets of each, since it reads no manifests."""
        flat = [(file, text) for file, given in asked.items() for text in given]
        with _rules_promtool.RuleCheck(PROMTOOL, [text for _file, text in flat], []) as judge:
            errors = judge.errors(500)
        bad = {file for (file, _text), found in zip(flat, errors, strict=True) if found}
        same = collections.Counter()
        for file, text in texts.items():
            for engine in (PROMTOOL, ""):
                if valid(text, engine) == (file not in bad):
                    same[engine] += 1
                else:
                    print(
                        f"{file}: promtool says {'invalid' if file in bad else 'valid'}, the module {'with' if engine else 'without'} it does not",
                        file=sys.stderr,
                    )
        rows.append((name, str(len(texts) - len(bad)), str(len(bad)), f"{same[PROMTOOL]} of {len(texts)}", f"{same['']} of {len(texts)}"))

    good = (lab.TOP / "tests" / "rules_check" / "good.yaml").read_text()
    made = list(itertools.islice(mutations(good, SEED), 600))
    with _rules_promtool.RuleCheck(PROMTOOL, made, []) as judge:
        broken = [text for text, found in zip(made, judge.errors(500), strict=True) if found][:200]
    named = {f"broken {number}": text for number, text in enumerate(broken)}
    compare("200 files that are broken on purpose", named, {name: [text] for name, text in named.items()})
    for folder in options.folder:
        texts, asked = {}, {}
        for path in sorted(pathlib.Path(folder).rglob("*")):
            text = path.read_text(errors="replace") if path.is_file() and path.suffix in (".yaml", ".yml", ".rules") else ""
            manifest = re.search(r"^kind: PrometheusRule\s*$", text, re.MULTILINE)
            if not manifest and not re.search(r"^groups:", text, re.MULTILINE):
                continue
            texts[str(path)], asked[str(path)] = text, [text]
            if manifest:
                try:
                    found = [document["spec"] for document in yaml.safe_load_all(text) if document and document.get("kind") == "PrometheusRule"]
                    asked[str(path)] = [yaml.safe_dump(spec) for spec in found]
                except yaml.YAMLError:
                    pass
        if texts:
            compare(pathlib.Path(folder).name.replace("+", "/"), texts, asked)
    return lab.table(("files", "valid", "refused", "same verdict", "same verdict without promtool"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["time", "agree"])
    parser.add_argument("--rules", type=int, default=10000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", action="append", default=[])
    parser.add_argument("--save", action="store_true", help="write the table into benchmarks/README.md")
    options = parser.parse_args()
    where = lab.machine()
    found = {"time": times, "agree": agree}[options.what](options)
    command = f"python benchmarks/rules.py {options.what}{' --folder FOLDER...' if options.folder else ''}"
    text = f"`{command}`. {where}\n\n{found}"
    print(text)
    if options.save:
        lab.save(f"rules-{options.what}", text)


if __name__ == "__main__":
    main()
