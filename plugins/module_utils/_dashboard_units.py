# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: values in the units of Grafana's panels, of which the usual ones are known."""

from __future__ import annotations

import dataclasses
import datetime
import math

_PREFIXES = ("", "k", "M", "G", "T", "P", "E")
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
# unit -> base, names of the powers, what the unit itself is worth
_POWERS: dict[str, tuple[float, tuple[str, ...], float]] = {
    "short": (1000, ("", " K", " Mil", " Bil", " Tri", " Quadr"), 1),
    "sishort": (1000, tuple(f" {prefix}".rstrip() for prefix in _PREFIXES), 1),
}
for _unit, _worth in (("bytes", 1), ("kbytes", 1024), ("mbytes", 1024**2), ("gbytes", 1024**3), ("tbytes", 1024**4)):
    _POWERS[_unit] = (1024, tuple(f" {prefix}B" for prefix in _BINARY), _worth)
    _POWERS[f"dec{_unit}"] = (1000, tuple(f" {prefix}B" for prefix in _PREFIXES), 1000 ** round(math.log(_worth, 1024)))
for _unit, _base, _prefixes, _name in (
    ("bits", 1024, _BINARY, "b"),
    ("decbits", 1000, _PREFIXES, "b"),
    ("binBps", 1024, _BINARY, "B/s"),
    ("Bps", 1000, _PREFIXES, "B/s"),
    ("binbps", 1024, _BINARY, "b/s"),
    ("bps", 1000, _PREFIXES, "b/s"),
    ("hertz", 1000, _PREFIXES, "Hz"),
    ("rothz", 1000, _PREFIXES, "Hz"),
    ("watt", 1000, _PREFIXES, "W"),
    ("volt", 1000, _PREFIXES, "V"),
    ("amp", 1000, _PREFIXES, "A"),
    ("joule", 1000, _PREFIXES, "J"),
    ("pps", 1000, _PREFIXES, "p/s"),
):
    _POWERS[_unit] = (_base, tuple(f" {prefix}{_name}" for prefix in _prefixes), 1)
for _unit, _name in (
    *(("cps", "c/s"), ("ops", "ops/s"), ("reqps", "req/s"), ("rps", "rd/s"), ("wps", "wr/s"), ("iops", "io/s"), ("eps", "evt/s"), ("mps", "msg/s")),
    *(("cpm", "c/m"), ("opm", "ops/m"), ("reqpm", "req/m"), ("rpm", "rd/m"), ("wpm", "wr/m")),
):
    _POWERS[_unit] = (1000, (f" {_name}", *(f"{power} {_name}" for power in ("K", "M", "B", "T"))), 1)
_SECONDS = {
    "ns": 1e-9,
    "µs": 1e-6,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "dtdurations": 1.0,
    "dtdurationms": 1e-3,
    "clocks": 1.0,
    "clockms": 1e-3,
}
_TIMES = ((86400.0, " days"), (3600.0, " h"), (60.0, " min"), (1.0, " s"), (1e-3, " ms"), (1e-6, " µs"), (1e-9, " ns"))
_SUFFIXES = {"percent": " %", "celsius": " °C", "fahrenheit": " °F", "kelvin": " K", "humidity": " %H", "rotrpm": " rpm", "dB": " dB", "degree": "°"}
_BOOLEANS = {"bool": ("True", "False"), "bool_yes_no": ("Yes", "No"), "bool_on_off": ("On", "Off")}
_DATES = {"dateTimeAsIso", "dateTimeAsIsoNoDateIfToday", "dateTimeAsUS", "dateTimeAsLocal", "dateTimeAsSystem", "dateTimeFromNow"}


@dataclasses.dataclass(frozen=True)
class Scale:
    """A value times C(factor), with C(suffix) behind it, or C(prefix) before it."""

    factor: float = 1
    suffix: str = ""
    prefix: str = ""


def scale(unit: str, largest: float) -> Scale:
    """How values of a unit are written, of which this one is the largest."""
    largest = abs(largest)
    if unit in _POWERS:
        base, names, worth = _POWERS[unit]
        power = 0 if largest * worth < base else min(len(names) - 1, int(math.log(largest * worth, base) + 1e-9))
        return Scale(worth / base**power, names[power])
    if unit in _SECONDS:
        seconds = _SECONDS[unit]
        length, name = next(((length, name) for length, name in _TIMES if largest * seconds >= length), (1.0, " s") if not largest else _TIMES[-1])
        return Scale(seconds / length, name)
    if unit == "percentunit":
        return Scale(100, " %")
    if unit in _SUFFIXES:
        return Scale(1, _SUFFIXES[unit])
    if unit.startswith(("suffix:", "si:", "count:", "currency:")):
        return Scale(1, " " + unit.partition(":")[2])
    if unit.startswith("prefix:"):
        return Scale(1, "", unit.partition(":")[2])
    if unit.startswith("currency"):
        return Scale(1, " " + unit.removeprefix("currency"))
    return Scale()


def text(value: float, unit: str = "", decimals: int | None = None) -> str:
    if not math.isfinite(value):
        return str(value)
    if unit in _BOOLEANS:
        return _BOOLEANS[unit][0 if value else 1]
    if unit in _DATES or unit.startswith("time:"):
        return _date(value, unit)
    fitting = scale(unit, value)
    return f"{fitting.prefix}{plain(value * fitting.factor, decimals)}{fitting.suffix}"


def plain(value: float, decimals: int | None = None) -> str:
    if decimals is not None:
        return f"{value:.{decimals}f}"
    if value and not 1e-3 <= abs(value) < 1e15:
        return f"{value:.3g}"
    places = 0 if abs(value) >= 1000 or value == int(value) else 1 if abs(value) >= 100 else 2 if abs(value) >= 1 else 3
    written = f"{value:.{places}f}"
    return written.rstrip("0").rstrip(".") if "." in written else written


def _date(milliseconds: float, unit: str) -> str:
    try:
        moment = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return plain(milliseconds)
    if unit == "dateTimeFromNow":
        seconds = (moment - datetime.datetime.now(datetime.UTC)).total_seconds()
        length = text(abs(seconds), "s")
        return f"in {length}" if seconds > 0 else f"{length} ago"
    return moment.strftime("%Y-%m-%d %H:%M:%S")
