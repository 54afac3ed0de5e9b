#!/usr/bin/python
# Copyright (c) 2026 The deployd authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of an app's releases: held, pruned, there, live."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release
short_description: Hold, prune, look for or have live the releases of an app of deployd
version_added: "0.1.0"
description:
  - Holds an app, so that it takes no deployment, or one of its releases, so that it is not pruned, and lets it go.
  - Prunes releases, says whether one is there, and has one live that is there.
extends_documentation_fragment:
  - deployd.deployd.named
author:
  - The deployd authors (@deployd)
attributes:
  check_mode:
    support: full
    description: Says what would be changed.
  diff_mode:
    support: partial
    description: Shows the release that is live before and after.
    details: For O(state=live) alone.
options:
  state:
    description:
      - V(present) fails when the release is not there, and never makes one.
      - V(live) has a release that is there live, by activating or by going back.
      - V(held) holds the release, or the app without O(release); V(unheld) lets it go.
      - V(pruned) removes releases beyond O(keep) that nothing uses and nobody holds.
    type: str
    choices: [present, live, held, unheld, pruned]
    default: present
  release:
    description:
      - The id of a release, or at least seven digits of its revision, of which the newest is meant.
      - Needed for V(live); not for V(pruned).
    type: str
  reason:
    description: Why it is held, in at most 300 bytes.
    type: str
  keep:
    description: How many releases are kept; by default as many as are configured. For V(pruned).
    type: int
seealso:
  - module: deployd.deployd.deployment
"""

EXAMPLES = r"""
- name: Let nobody deploy while the database is moved
  deployd.deployd.release:
    name: shop
    state: held
    reason: the database is moved, ask anna

- name: Let them again
  deployd.deployd.release:
    name: shop
    state: unheld

- name: Keep the release of a revision
  deployd.deployd.release:
    name: shop
    release: 1a2b3c4d
    state: held

- name: Have that revision live, which is there on every host
  deployd.deployd.release:
    name: shop
    release: 1a2b3c4d
    state: live

- name: Make room
  deployd.deployd.release:
    name: shop
    state: pruned
    keep: 2
"""

RETURN = r"""
release:
  description: The release as it was before, as C(deployctl releases --json) prints it.
  returned: when O(release) was given
  type: dict
  sample:
    id: 20261121-120000-1a2b3c4
    seq: 12
    state: confirmed
    live: true
    revision: 1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d
    reference: main
releases:
  description: All releases of the app, the newest first.
  returned: with O(state=present) and without O(release)
  type: list
  elements: dict
pruned:
  description: What became, or would become, of each release, and why.
  returned: with O(state=pruned)
  type: list
  elements: dict
  sample:
    - release: 20261101-120000-1a2b3c4
      pruned: true
      why: beyond keep = 2
      bytes: 48211034
deployment:
  description: The deployment that had it live, see M(deployd.deployd.deployment).
  returned: when one was run
  type: dict
plan:
  description: The plan of that deployment.
  returned: in check mode, with O(state=live)
  type: dict
outcome:
  description: How it ended when it failed.
  returned: failure
  type: str
  sample: denied
remedy:
  description: What to do about the failure.
  returned: failure
  type: str
  sample: "there are: 20261121-120000-1a2b3c4"
rc:
  description: The exit status of deployctl, see deployctl(1).
  returned: failure
  type: int
  sample: 7
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.deployd.deployd.plugins.module_utils.deployctl import Deployctl, live_diff


def present(module, ctl, release):
    """It is there, or the module has ended already."""
    if release:
        return {"changed": False}
    return {"changed": False, "releases": ctl.releases(module.params["name"])}


def live(module, ctl, release):
    """Has it live: a release that was never live is activated, any other is gone back to."""
    app = module.params["name"]
    kind = "activate" if release["state"] == "sealed" else "rollback"
    if module.check_mode:
        plan = ctl.plan(app, kind, ["--release", release["id"]])
        result = {"changed": plan["decision"] == "go", "plan": plan}
        if result["changed"]:
            result["diff"] = live_diff(app, plan["from"], plan["release"])
        return result
    ended = ctl.ask([kind, app, release["id"]])
    result = {"changed": ended["changed"], "deployment": ended, "msg": "{0}: {1}".format(app, ended["message"])}
    if ended["changed"]:
        result["diff"] = live_diff(app, ended["previous"], ended["release"])
    return result


def hold(module, ctl, release):
    """Holds it or lets it go."""
    params = module.params
    wanted = params["state"] == "held"
    if module.check_mode:
        held = release["held"] if release else ctl.ask(["status", params["name"]], allowed=(0, 5))["app"]["held"]
        return {"changed": bool(held) != wanted}
    arguments = ["hold" if wanted else "unhold", params["name"]] + ([release["id"]] if release else [])
    if wanted and params["reason"]:
        arguments += ["--reason", params["reason"]]
    return {"changed": ctl.ask(arguments)["changed"]}


def prune(module, ctl, release):
    """Prunes, or says what would go."""
    params = module.params
    arguments = ["prune", params["name"]]
    if params["keep"] is not None:
        arguments += ["--keep", str(params["keep"])]
    said = ctl.ask(arguments + (["--dry-run"] if module.check_mode else []))
    return {"changed": any(one["pruned"] for one in said["releases"]), "pruned": said["releases"]}


STATES = {"present": present, "live": live, "held": hold, "unheld": hold, "pruned": prune}
# Which options go with which states, of those that not all take.
TAKES = {"release": ("present", "live", "held", "unheld"), "reason": ("held",), "keep": ("pruned",)}


def main():
    """As Ansible runs it."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True, "aliases": ["app"]},
            "state": {"type": "str", "choices": list(STATES), "default": "present"},
            "release": {"type": "str"},
            "reason": {"type": "str"},
            "keep": {"type": "int"},
        },
        required_if=[("state", "live", ["release"])],
        supports_check_mode=True,
    )
    state = module.params["state"]
    for option, states in TAKES.items():
        if module.params[option] is not None and state not in states:
            module.fail_json(msg="{0} has no meaning with state={1}; it goes with {2}".format(
                option, state, " and ".join(states)))
    ctl = Deployctl(module)
    wanted = module.params["release"]
    release = ctl.release(module.params["name"], wanted) if wanted else None
    result = STATES[state](module, ctl, release)
    if release:
        result["release"] = release
    module.exit_json(**result)


if __name__ == "__main__":
    main()
