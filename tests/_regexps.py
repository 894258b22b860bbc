# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Regular expressions that Go takes, and such that it refuses."""

from __future__ import annotations

GOOD = [
    *("ok", "^ok$", "", "a|b|", "é+", "\n", "a\tb", r"\d{3} OK\.", "^220 .*ESMTP", r"\-\/\ \#", r"a\\", "x{0}", "a{x}", "a{,3}", "]"),
    *("(?i)ok", "a(?i)b", "(?i:ok)", "(?s-m:ok)", "(?U)a+", "(?-i)a", "(?P<x>a)", "(?<x>a)", "(?:)"),
    *(r"\bok\b", r"\z", r"\A", r"\pL+", r"\p{Greek}", r"\p{^Greek}", r"\Qa.b(\E", r"\Qa(", r"\x41", r"\x{41}", r"\0", r"\_"),
    *("[[:alpha:]]+", "[[:^alpha:]]", "[]a]", "[^]a]", "[a-z&&[b]]", r"[\d\w]", r"[a\]b]", "[:alpha:]", "a??", "a{2}?", "a{1000}"),
]
BAD = [
    *("(", ")", "[", "[a", "*a", "+", "a|*", "[z-a]", "a{2,1}", "a\\", "(?i", "(?y)a", "(?a)x", "(?x)a b"),
    *("(?=a)", "(?!a)", "(?<=a)b", "(?<!a)b", "(?>a)", "(?#x)a", r"(a)\1", "(?P=a)"),
    *("a++", "a*+", "a?+", "a**", "a{2}{3}", "a{1001}", "{1}a**"),
    *(r"\Z", r"\pX", r"\x4", r"\C", r"\h", r"\uABCD", r"\8", r"\N{DASH}", r"[\b]", r"[\Qa\E]", "[[:foo:]]"),
]
