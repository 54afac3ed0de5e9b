# Copyright (c) 2026 The deployd authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written is read back the same by Python's own reader."""

from __future__ import annotations

import pytest

from ansible_collections.deployd.deployd.plugins.module_utils.toml import dump

tomllib = pytest.importorskip("tomllib")

SETTINGS = {
    "preset": "laravel",
    "odd": "a \"quoted\"\\ \n\t\x01\x7f \u20ac \U0001f600",
    "health": {"http": "http://127.0.0.1/", "successes": 3, "bake": "20s"},
    "source": {"git": "/srv/x.git", "more": {"deep": [1, {"a b": True}], "none": {}}},
    "service": [{"kind": "php-fpm", "pool": {"pm.max_children": "16"}}, {"kind": "octane", "ports": [8000, 8001]}],
    "last": 1.5,
    "empty": [],
}


def test_it_is_read_back_the_same():
    assert tomllib.loads(dump(SETTINGS)) == SETTINGS


def test_it_is_as_people_write_it():
    assert dump({"source": {"ref": "main"}, "root": "/srv/x", "service": [{"kind": "php-fpm"}]}) == (
        'root = "/srv/x"\n\n[source]\nref = "main"\n\n[[service]]\nkind = "php-fpm"\n')


def test_what_toml_has_no_word_for_is_named():
    with pytest.raises(ValueError, match="drain: TOML has no value for None; leave the key out"):
        dump({"drain": None})
