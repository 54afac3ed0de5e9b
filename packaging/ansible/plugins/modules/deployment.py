#!/usr/bin/python
# Copyright (c) 2026 The deployd authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment of deployd's, wanted as a state: nothing new changes nothing."""

from __future__ import annotations

DOCUMENTATION = r"""
module: deployment
short_description: Deploy, stage, activate or roll back an app of deployd
version_added: "0.1.0"
description:
  - Has deployd bring an app to a wanted state and waits for the outcome.
  - When source, settings, shared files and PHP are what the live release was made from, nothing is changed.
  - In check mode deployd's own plan is asked for, which changes nothing and is refused for what the deployment would be.
  - A release that does not prove healthy is gone back from by deployd itself; the task fails with the outcome V(rolled-back).
extends_documentation_fragment:
  - deployd.deployd.named
author:
  - The deployd authors (@deployd)
attributes:
  check_mode:
    support: full
    description: Asks for the plan of the deployment.
  diff_mode:
    support: full
    description: Shows the release that is live before and after.
options:
  state:
    description:
      - V(deployed) makes a release when something is new, and has it live.
      - V(staged) makes it only, and leaves what is live alone.
      - V(activated) has a staged release live, the newest unless O(release) names one.
      - V(rolled_back) has a confirmed release live, that of O(release), or with O(from_revision) the one before.
        With neither each run goes back by one more release.
    type: str
    choices: [deployed, staged, activated, rolled_back]
    default: deployed
  ref:
    description: A branch, tag or commit instead of the configured one. For V(deployed) and V(staged).
    type: str
  archive:
    description:
      - An archive on the managed host to make the release of, tar or zip. For V(deployed) and V(staged).
      - In check mode its content is not looked at, and a change is reported.
    type: path
  release:
    description: The id of a release, or at least seven digits of its revision. For V(activated) and V(rolled_back).
    type: str
  from_revision:
    description:
      - Roll back only where the live release is of this revision (at least seven digits) or ref, so that a fleet
        leaves a bad release and a second run changes nothing. For V(rolled_back).
    type: str
  force:
    description: Make a new release although nothing is new. For V(deployed) and V(staged).
    type: bool
    default: false
  allow_destructive:
    description: Run migrations that the live release may not survive. For V(deployed) and V(activated).
    type: bool
    default: false
  allow_key_rotation:
    description: Go live with another E(APP_KEY) although the old one is not among the previous keys. Not for V(rolled_back).
    type: bool
    default: false
  run_again:
    description: Run the steps once more that run once for each release. For V(activated).
    type: bool
    default: false
  wait:
    description:
      - Wait for the outcome; a task's C(async) bounds how long.
      - Without it the plan is asked for first, and a deployment is begun when there is something to do.
    type: bool
    default: true
seealso:
  - module: deployd.deployd.release
  - module: deployd.deployd.app
"""

EXAMPLES = r"""
- name: Have what main is, live
  deployd.deployd.deployment:
    name: shop

- name: Have a tag live
  deployd.deployd.deployment:
    name: shop
    ref: v1.4

- name: Make the release now, and have it live later
  deployd.deployd.deployment:
    name: shop
    ref: v1.4
    state: staged

- name: Have the staged release live
  deployd.deployd.deployment:
    name: shop
    state: activated

- name: Leave a bad release, wherever it is live
  deployd.deployd.deployment:
    name: shop
    state: rolled_back
    from_revision: 1a2b3c4d
"""

RETURN = r"""
deployment:
  description: The deployment, when one was run and waited for; of one that was only begun its app, id and kind.
  returned: when a deployment was begun
  type: dict
  contains:
    app:
      description: The app.
      type: str
    id:
      description: Its id, as C(deployctl logs --deployment) takes it.
      type: str
    kind:
      description: deploy, stage, activate or rollback.
      type: str
    actor:
      description: Who asked for it.
      type: str
    outcome:
      description: succeeded, unchanged, rejected, failed, rolled-back, stuck or cancelled.
      type: str
    message:
      description: The outcome in one sentence.
      type: str
    release:
      description: The release it was about.
      type: str
    previous:
      description: The release that was live before.
      type: str
    live_ms:
      description: Milliseconds until it was live; 0 when it did not become live.
      type: int
    wall_ms:
      description: Milliseconds until it had ended.
      type: int
    changed:
      description: Whether something was changed.
      type: bool
  sample:
    app: shop
    id: 7f3a9c2e51d04b68
    kind: deploy
    actor: root
    outcome: succeeded
    message: "20261121-120000-1a2b3c4 is live (was 20261120-120000-5d6e7f8), 412 ms: a new commit"
    release: 20261121-120000-1a2b3c4
    previous: 20261120-120000-5d6e7f8
    live_ms: 412
    wall_ms: 1630
    changed: true
plan:
  description: What would be done, as C(deployctl plan) prints it.
  returned: in check mode, and without O(wait)
  type: dict
  sample:
    decision: unchanged
    release: 20261121-120000-1a2b3c4
    message: "nothing is new: 20261121-120000-1a2b3c4 (1a2b3c4) stays live"
outcome:
  description: How it ended when it failed; also denied, usage, not-there or not-installed.
  returned: failure
  type: str
  sample: rolled-back
remedy:
  description: What to do about the failure, when the message does not say it.
  returned: failure
  type: str
  sample: "`deployctl logs shop --deployment 7f3a9c2e51d04b68` shows all of it"
rc:
  description: The exit status of deployctl, see deployctl(1).
  returned: failure
  type: int
  sample: 4
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.deployd.deployd.plugins.module_utils.deployctl import REVISION, Deployctl, live_diff

KINDS = {"deployed": "deploy", "staged": "stage", "activated": "activate", "rolled_back": "rollback"}
# Which options a state takes, of those that not all take.
TAKES = {
    "ref": ("deployed", "staged"),
    "archive": ("deployed", "staged"),
    "force": ("deployed", "staged"),
    "release": ("activated", "rolled_back"),
    "from_revision": ("rolled_back",),
    "allow_destructive": ("deployed", "activated"),
    "allow_key_rotation": ("deployed", "staged", "activated"),
    "run_again": ("activated",),
}


def refuse_misplaced(module):
    """An option that the state would ignore is an error."""
    state = module.params["state"]
    for option, states in TAKES.items():
        if module.params[option] and state not in states:
            module.fail_json(msg="{0} has no meaning with state={1}; it goes with {2}".format(
                option, state, " and ".join(states)))


def options_of(params):
    """The options of deployctl's, of which plan and the deployment itself take the same."""
    options = []
    for flag in ("force", "allow_destructive", "allow_key_rotation", "run_again"):
        if params[flag]:
            options.append("--" + flag.replace("_", "-"))
    if params["ref"]:
        options += ["--ref", params["ref"]]
    return options


def is_of(release, revision):
    """Whether a release is of this revision or ref."""
    if release["reference"] == revision:
        return True
    return REVISION.fullmatch(revision) is not None and release["revision"].startswith(revision)


def plan_only(module, ctl, kind, options, release):
    """The plan, and what it would change; an archive's is not known."""
    app = module.params["name"]
    if module.params["archive"]:
        return {"changed": True, "msg": "{0}: what the archive changes is known when it is deployed".format(app)}
    plan = ctl.plan(app, kind, options + (["--release", release] if release else []))
    result = {"changed": plan["decision"] == "go", "plan": plan}
    if plan["decision"] == "unchanged":
        result["msg"] = plan["message"]
    else:
        result["msg"] = "{0}: would {1} {2}: {3}".format(app, kind, plan["release"], ", ".join(plan["reasons"]))
        if kind != "stage":
            result["diff"] = live_diff(app, plan["from"], plan["release"])
    return result


def begin(module, ctl, kind, options, release):
    """Begins it, and waits unless told otherwise."""
    params = module.params
    app = params["name"]
    arguments = [kind, app] + ([release] if release else []) + options
    if params["archive"]:
        arguments += ["--upload", params["archive"]]
    if not params["wait"]:
        begun = ctl.ask(arguments + ["--no-block"])
        return {"changed": True, "deployment": begun, "msg": "{0}: {1} {2} was accepted".format(app, kind, begun["id"])}
    ended = ctl.ask(arguments)
    result = {"changed": ended["changed"], "deployment": ended, "msg": "{0}: {1}".format(app, ended["message"])}
    if ended["changed"] and kind != "stage":
        result["diff"] = live_diff(app, ended["previous"], ended["release"])
    return result


def run(module):
    """The result."""
    params = module.params
    refuse_misplaced(module)
    ctl = Deployctl(module)
    kind = KINDS[params["state"]]
    if params["from_revision"]:
        live = [one for one in ctl.releases(params["name"]) if one["live"]]
        if not any(is_of(one, params["from_revision"]) for one in live):
            return {"changed": False, "msg": "{0}: {1} is not live here".format(params["name"], params["from_revision"])}
    release = ctl.release(params["name"], params["release"])["id"] if params["release"] else None
    options = options_of(params)
    if module.check_mode:
        return plan_only(module, ctl, kind, options, release)
    if not params["wait"] and not params["archive"]:
        planned = plan_only(module, ctl, kind, options, release)
        if not planned["changed"]:
            return planned
        return dict(begin(module, ctl, kind, options, release), plan=planned["plan"])
    return begin(module, ctl, kind, options, release)


def main():
    """As Ansible runs it."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True, "aliases": ["app"]},
            "state": {"type": "str", "choices": list(KINDS), "default": "deployed"},
            "ref": {"type": "str"},
            "archive": {"type": "path"},
            "release": {"type": "str"},
            "from_revision": {"type": "str"},
            "force": {"type": "bool", "default": False},
            "allow_destructive": {"type": "bool", "default": False},
            "allow_key_rotation": {"type": "bool", "default": False},
            "run_again": {"type": "bool", "default": False},
            "wait": {"type": "bool", "default": True},
        },
        mutually_exclusive=[("ref", "archive"), ("release", "from_revision")],
        supports_check_mode=True,
    )
    module.exit_json(**run(module))


if __name__ == "__main__":
    main()
