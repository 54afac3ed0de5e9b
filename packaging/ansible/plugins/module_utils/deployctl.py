# Copyright (c) 2026 The deployd authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that runs deployctl: asks for JSON, never by a shell, and fails with deployctl's words and remedy."""

from __future__ import annotations

import json
import re

# What is left to be done after an outcome whose message does not say it; deployctl prints the same to people.
REMEDIES = {
    "failed": "`deployctl logs {app} --deployment {id}` shows all of it",
    "rolled-back": "`deployctl logs {app} --deployment {id}` shows all of it",
    "stuck": "`deployctl status {app}` says how to go on",
}
# Exit statuses, for what ends without an outcome of its own; see deployctl(1).
OUTCOMES = {
    1: "failed",
    2: "usage",
    3: "rejected",
    4: "rolled-back",
    5: "stuck",
    6: "cancelled",
    7: "denied",
    8: "not-there",
}
REJECTED = 3
APP_NAME = re.compile(r"[a-z][a-z0-9_]*(-[a-z0-9_]+)*")
# As much of a revision as names one; what deployctl shows of it has eight digits.
REVISION = re.compile(r"[0-9a-f]{7,64}")


def is_app_name(name):
    """Whether deployd takes this for the name of an app."""
    return len(name) <= 32 and APP_NAME.fullmatch(name) is not None


def parse(text):
    """The JSON value that was printed; None when there is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def explain(rc, value, err):
    """What went wrong and what to do about it: (outcome, reason, remedy)."""
    outcome = OUTCOMES.get(rc, "failed")
    if isinstance(value, dict) and value.get("outcome"):
        outcome = value["outcome"]
        remedy = REMEDIES.get(outcome, "").format(app=value.get("app"), id=value.get("id"))
        return outcome, "{0}: {1}: {2}".format(value.get("app"), outcome, value.get("message")), remedy
    if isinstance(value, dict) and value.get("decision") == "rejected":
        return "rejected", value.get("reason") or "rejected", value.get("remedy") or ""
    said = err.strip()
    if said.startswith("deployctl: "):
        said = said[len("deployctl: "):]
    reason, dummy, remedy = said.partition("\n\n")
    return outcome, reason or "deployctl ended with status {0} and said nothing".format(rc), remedy


def find(releases, wanted):
    """The release of this id, else the newest one of this revision; None when there is none."""
    for one in releases:
        if one["id"] == wanted:
            return one
    if REVISION.fullmatch(wanted):
        of_it = [one for one in releases if one["revision"].startswith(wanted)]
        return max(of_it, key=lambda one: one["seq"], default=None)
    return None


class Deployctl:
    """deployctl, as a module runs it."""

    def __init__(self, module):
        self.module = module
        self.path = module.get_bin_path("deployctl")
        if self.path is None:
            remedy = "install the package deployd, or use the role deployd.deployd.deployd"
            module.fail_json(msg="deployctl is not on this host; " + remedy, remedy=remedy, outcome="not-installed")

    def run(self, arguments):
        """Runs it to its end: (status, standard output, standard error)."""
        return self.module.run_command([self.path] + list(arguments), environ_update={"NO_COLOR": "1"})

    def ask(self, arguments, allowed=(0,)):
        """The JSON value it answers with; ends the module unless the status is an allowed one."""
        rc, out, err = self.run(["--json"] + list(arguments))
        value = parse(out)
        if rc not in allowed or value is None:
            self.fail(rc, value, err)
        return value

    def fail(self, rc, value, err, **more):
        """Ends the module with deployctl's words."""
        outcome, reason, remedy = explain(rc, value, err)
        msg = "; ".join(part for part in (reason, remedy) if part)
        if isinstance(value, dict) and value.get("outcome"):
            more["deployment"] = value
        self.module.fail_json(msg=msg, outcome=outcome, remedy=remedy, rc=rc, stderr=err, **more)

    def releases(self, app):
        """The app's releases, newest first."""
        return self.ask(["releases", app])

    def release(self, app, wanted):
        """The release of this id or revision; ends the module when there is none."""
        releases = self.releases(app)
        found = find(releases, wanted)
        if found is None:
            there = ", ".join(one["id"] for one in releases) or "none"
            remedy = "there are: " + there
            self.module.fail_json(msg="{0}: there is no release {1}; {2}".format(app, wanted, remedy),
                                  outcome="not-there", remedy=remedy)
        return found

    def plan(self, app, kind, options):
        """What a deployment would do; ends the module when it would be refused."""
        return self.ask(["plan", app, "--kind", kind] + options)


def live_diff(app, before, after):
    """What --diff shows of a release that takes another one's place."""
    line = "{0}\n".format
    return {
        "before_header": "{0}: live".format(app),
        "after_header": "{0}: live".format(app),
        "before": line(before) if before else "",
        "after": line(after) if after else "",
    }
