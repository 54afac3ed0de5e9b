# Copyright (c) 2026 The deployd authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What deployctl says is told with its remedy, and releases are found by id and revision."""

from __future__ import annotations

import pytest

from ansible_collections.deployd.deployd.plugins.module_utils.deployctl import explain, find, is_app_name

RELEASES = [
    {"id": "20260102-000000-abcdef0", "seq": 3, "revision": "abcdef0123"},
    {"id": "20260101-000000-abcdef0", "seq": 1, "revision": "abcdef0123"},
    {"id": "20260101-120000-1234567", "seq": 2, "revision": "1234567890"},
]


def test_an_outcome_is_told_with_where_to_read_on():
    ended = {"app": "shop", "id": "7", "outcome": "rolled-back", "message": "status 500"}
    assert explain(4, ended, "") == (
        "rolled-back", "shop: rolled-back: status 500", "`deployctl logs shop --deployment 7` shows all of it")


def test_a_refused_plan_has_its_own_remedy():
    plan = {"decision": "rejected", "reason": "no composer", "remedy": "install it"}
    assert explain(3, plan, "") == ("rejected", "no composer", "install it")


def test_an_error_is_split_at_the_blank_line():
    assert explain(7, None, "deployctl: denied\n\nrun it as root\n") == ("denied", "denied", "run it as root")
    assert explain(1, None, "") == ("failed", "deployctl ended with status 1 and said nothing", "")


def test_a_release_is_found_by_its_id_or_the_newest_of_a_revision():
    assert find(RELEASES, "20260101-000000-abcdef0")["seq"] == 1
    assert find(RELEASES, "abcdef0")["seq"] == 3
    assert find(RELEASES, "abcdef") is None
    assert find(RELEASES, "fffffff") is None


@pytest.mark.parametrize("name, good", [
    ("shop", True), ("my-shop_2", True), ("a" * 32, True),
    ("a" * 33, False), ("Shop", False), ("../x", False), ("a--b", False), ("a\n", False), ("", False),
])
def test_names(name, good):
    assert is_app_name(name) is good
