# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The persistent volumes of a cluster: whether claims have one, how full they are and when they will be."""

from __future__ import annotations

from ._kaas import CLUSTER, NAMESPACE, UTILISATION, namespace_variable, over, top, top_graph
from .common import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    Dashboard,
    bad_if_any,
    cluster_variable,
    dashboard,
    label,
    link,
    mapping,
    override,
    query_variable,
    row,
    source,
    stat,
    table,
    thresholds,
    timeseries,
    value,
)

COUNTED = "Counted by the kubelet for mounted volumes whose kind can be asked (CSI and local ones; not those by host path)."
CLAIM = "cluster, namespace, persistentvolumeclaim"
VOLUME = "cluster, persistentvolume"
NAME = "{{namespace}}/{{persistentvolumeclaim}}"
CLASSES = f'kube_persistentvolumeclaim_info{{{NAMESPACE},storageclass=~"$storageclass"}}'
HERE = f"and on ({CLAIM}) {CLASSES}"
PHASE = mapping({"Bound": ("bound", GREEN), "Pending": ("pending", ORANGE), "Lost": ("lost", RED)})
VOLUME_PHASE = mapping(
    {"Bound": ("bound", GREEN), "Available": ("free", BLUE), "Released": ("released", GREY), "Pending": ("pending", ORANGE), "Failed": ("failed", RED)}
)
# Grey where nothing shrinks.
DAYS = thresholds(GREY, (0, RED), (86400, ORANGE), (4 * 86400, GREEN))
POD_LINK = link("scs-kaas-pods", cluster="$cluster", namespace="${__data.fields.Namespace}")


def stats(metric: str, window: str = "", at: str = "") -> str:
    """A volume that several nodes have mounted is counted by each of them."""
    return f"max by ({CLAIM}) ({over(f'kubelet_volume_stats_{metric}{{{NAMESPACE}}}', window, at)} and on ({CLAIM}) {CLASSES}{at})"


def used(window: str = "", at: str = "") -> str:
    # Not used_bytes: what is kept for root is not free for anybody.
    return f"1 - {stats('available_bytes', window, at)} / ({stats('capacity_bytes', window, at)} > 0)"


def inodes(window: str = "", at: str = "") -> str:
    return f"{stats('inodes_used', window, at)} / ({stats('inodes', window, at)} > 0)"


def growth(window: str = "6h", at: str = "") -> str:
    return f"max by ({CLAIM}) (deriv(kubelet_volume_stats_used_bytes{{{NAMESPACE}}}[{window}]{at}) and on ({CLAIM}) {CLASSES}{at})"


def phase(name: str) -> str:
    return f'sum(kube_persistentvolumeclaim_status_phase{{{NAMESPACE},phase="{name}"}} {HERE}) or vector(0)'


def by_class(expression: str) -> str:
    return f"sum by (cluster, storageclass) ({expression} * on ({CLAIM}) group_left (storageclass) max by ({CLAIM}, storageclass) ({CLASSES}))"


def dashboards() -> list[Dashboard]:
    requested = f"max by ({CLAIM}) (kube_persistentvolumeclaim_resource_requests_storage_bytes{{{NAMESPACE}}} {HERE})"
    # Empty where nothing grows.
    full_in = f"{stats('available_bytes')} / (max by ({CLAIM}) (-deriv(kubelet_volume_stats_available_bytes{{{NAMESPACE}}}[6h])) > 0)"
    mounted = f"kube_pod_spec_volumes_persistentvolumeclaims_info{{{NAMESPACE}}}"
    unused = f'(kube_persistentvolumeclaim_status_phase{{{NAMESPACE},phase="Bound"}} == 1) unless on ({CLAIM}) {mounted}'
    return [
        dashboard(
            "scs-kaas-volumes",
            "Persistent volumes and volume claims of a KaaS cluster: bound or not, how full, and when they will be full.",
            up=["scs-kaas-cluster"],
            down=["scs-kaas-workloads", "scs-kaas-pods", "scs-kaas-namespaces"],
            variables=[
                cluster_variable(),
                namespace_variable(),
                query_variable(
                    "storageclass",
                    "Storage class",
                    f"label_values(kube_persistentvolumeclaim_info{{{CLUSTER}}}, storageclass)",
                    description="Storage classes that claims name.",
                    all_value=".*",
                    multi=True,
                ),
            ],
            panels=[
                row("Overview"),
                stat("Claims", "Volume claims that are chosen.", "none", f"count(group by ({CLAIM}) ({CLASSES})) or vector(0)", width=3),
                stat("Bound", "Claims that have a volume.", "none", phase("Bound"), width=3),
                stat("Pending", "Claims that wait for a volume; some do until a pod uses them.", "none", phase("Pending"), width=3, limits=bad_if_any(ORANGE)),
                stat("Lost", "Claims whose volume is gone.", "none", phase("Lost"), width=3, limits=bad_if_any()),
                stat("Requested", "Storage that claims have asked for.", "bytes", f"sum({requested})", width=3, decimals=1),
                stat(
                    "In no pod", "Claims with a volume that no pod has: it costs, and nobody uses it.", "none", f"count({unused} {HERE}) or vector(0)", width=3
                ),
                stat(
                    "Fullest volume",
                    f"The fullest one. {COUNTED}",
                    "percentunit",
                    f"max({used()})",
                    width=3,
                    limits=UTILISATION,
                    decimals=1,
                    no_value="not counted",
                ),
                stat("First full in", f"If they went on as in the last six hours. {COUNTED}", "s", f"min({full_in})", width=3, limits=DAYS, no_value="never"),
                table(
                    "Volume claims",
                    f"One row a claim. Full in: when the free space would end, if it went on as in the last six hours; empty: it does not shrink. {COUNTED}",
                    [
                        label("namespace", "Namespace", links=[POD_LINK], width=150),
                        label("persistentvolumeclaim", "Claim", width=230),
                        label("phase", "Phase", mappings=[PHASE], cellOptions={"type": "color-text"}, width=85),
                        label("storageclass", "Storage class", width=130),
                        value("Requested", requested, "bytes", width=105),
                        value("Size", stats("capacity_bytes"), "bytes", width=95),
                        value("Free", stats("available_bytes"), "bytes", width=95),
                        value("In use", used(), "percentunit", UTILISATION, bar=True, width=140),
                        value("Inodes in use", inodes(), "percentunit", UTILISATION, bar=True, width=140),
                        value("Full in", full_in, "s", DAYS, width=105),
                        value("Pods", f"count by ({CLAIM}) (group by ({CLAIM}, pod) ({mounted} {HERE}))", "none", width=70),
                        label("volumename", "Volume"),
                        source(
                            f"max by ({CLAIM}, phase, storageclass, volumename) ((kube_persistentvolumeclaim_status_phase{{{NAMESPACE}}} == 1)"
                            f" * on ({CLAIM}) group_left (storageclass, volumename) max by ({CLAIM}, storageclass, volumename) ({CLASSES}))"
                        ),
                    ],
                    sort="In use",
                    height=10,
                ),
                row("Use, the ten highest"),
                top_graph("Space in use", COUNTED, "percentunit", top(used, "namespace, persistentvolumeclaim", NAME), width=12, maximum=1),
                top_graph(
                    "Inodes in use",
                    f"How many files more a volume can hold. {COUNTED}",
                    "percentunit",
                    top(inodes, "namespace, persistentvolumeclaim", NAME),
                    width=12,
                    maximum=1,
                ),
                top_graph(
                    "Growth",
                    f"How fast a volume fills, over six hours; below zero it empties. {COUNTED}",
                    "Bps",
                    top(lambda _window, at: growth(at=at), "namespace, persistentvolumeclaim", NAME),
                    width=12,
                    minimum=None,
                ),
                top_graph(
                    "Space used",
                    COUNTED,
                    "bytes",
                    top(lambda window, at: stats("used_bytes", window, at), "namespace, persistentvolumeclaim", NAME),
                    width=12,
                ),
                row("Claims and classes"),
                timeseries(
                    "Claims by phase",
                    "How many are bound, pending and lost.",
                    "none",
                    {"{{phase}}": f"sum by (cluster, phase) (kube_persistentvolumeclaim_status_phase{{{NAMESPACE}}} {HERE})"},
                    stacked=True,
                    width=12,
                    overrides=[override("Bound", color=GREEN), override("Pending", color=ORANGE), override("Lost", color=RED)],
                ),
                timeseries(
                    "Requested by storage class",
                    "Storage that claims have asked for.",
                    "bytes",
                    {"{{storageclass}}": by_class(requested)},
                    stacked=True,
                    width=12,
                ),
                table(
                    "Persistent volumes",
                    "All volumes of the cluster, whatever namespace is chosen. Released: its claim is gone, but its data is kept.",
                    [
                        label("persistentvolume", "Volume", width=320),
                        label("phase", "Phase", mappings=[VOLUME_PHASE], cellOptions={"type": "color-text"}, width=90),
                        label("storageclass", "Storage class", width=130),
                        value("Size", f"max by ({VOLUME}) (kube_persistentvolume_capacity_bytes{{{CLUSTER}}})", "bytes", width=85),
                        value("Age", f"time() - max by ({VOLUME}) (kube_persistentvolume_created{{{CLUSTER}}})", "s", width=95),
                        label("claim_namespace", "Claimed in", width=120),
                        label("name", "Claim"),
                        source(
                            f"max by ({VOLUME}, phase, storageclass) ((kube_persistentvolume_status_phase{{{CLUSTER}}} == 1)"
                            f" * on ({VOLUME}) group_left (storageclass) max by ({VOLUME}, storageclass) (kube_persistentvolume_info{{{CLUSTER}}}))"
                        ),
                        source(f"max by ({VOLUME}, claim_namespace, name) (kube_persistentvolume_claim_ref{{{CLUSTER}}})"),
                    ],
                    width=16,
                    height=9,
                    sort="Age",
                    descending=False,
                ),
                table(
                    "Claims in no pod",
                    "They have a volume, and no pod has it.",
                    [
                        label("namespace", "Namespace", links=[POD_LINK]),
                        label("persistentvolumeclaim", "Claim"),
                        value("Requested", f"{requested} and on ({CLAIM}) ({unused})", "bytes"),
                        source(f"group by ({CLAIM}) ({unused} {HERE})"),
                    ],
                    width=8,
                    height=9,
                    sort="Requested",
                ),
                timeseries(
                    "Volumes on nodes",
                    "How many the kubelets have mounted or are about to, by kind.",
                    "none",
                    {"{{plugin_name}}": f'sum by (cluster, plugin_name) (volume_manager_total_volumes{{{CLUSTER},state="actual_state_of_world"}})'},
                    width=24,
                    height=7,
                    stacked=True,
                ),
            ],
        )
    ]
