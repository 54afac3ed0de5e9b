#!/usr/bin/python
# Copyright (c) 2026 The deployd authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of an app of deployd's: written beside, renamed, and taken back when deployd does not take it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app
short_description: Describe an app to deployd
version_added: "0.1.0"
description:
  - Writes C(/etc/deployd/apps/NAME.toml) in one rename and has deployd read it.
  - A file that deployd does not take is taken back, and the task fails with the place and the remedy.
  - Nothing is deployed by it; the next deployment goes by what it says.
extends_documentation_fragment:
  - deployd.deployd.named
author:
  - The deployd authors (@deployd)
attributes:
  check_mode:
    support: partial
    description: Says whether the file would change.
    details: deployd reads a file only when it is written, so what it does not take is not told.
  diff_mode:
    support: full
    description: Shows the file before and after.
options:
  state:
    description: Whether the app shall be there.
    type: str
    choices: [present, absent]
    default: present
  content:
    description: The file as it stands, such as a template gives it. See deployd.toml(5).
    type: str
  settings:
    description: The same as a dictionary.
    type: dict
  check:
    description:
      - Whether deployd shall look at the host for what would break the promise that no request is lost.
      - V(warn) warns of it, V(fail) fails the task and leaves the file in place.
    type: str
    choices: ["no", warn, fail]
    default: warn
  disown:
    description:
      - With O(state=absent), give the app's tree back to its user first, as C(deployctl disown) does.
        It is refused while nginx still asks deployd's services.
      - Without it the file alone is removed, and what runs goes on running.
    type: bool
    default: false
seealso:
  - module: deployd.deployd.deployment
"""

EXAMPLES = r"""
- name: Describe the shop
  deployd.deployd.app:
    name: shop
    settings:
      preset: laravel
      root: /srv/shop
      user: shop
      source:
        git: git@git.example.org:acme/shop.git
        ref: main
      service:
        - kind: php-fpm
      health:
        http: http://127.0.0.1/up
        host: shop.example.org

- name: The same from a file of one's own
  deployd.deployd.app:
    name: shop
    content: "{{ lookup('ansible.builtin.template', 'shop.toml.j2') }}"
    check: fail

- name: Give the tree back to its user
  deployd.deployd.app:
    name: shop
    state: absent
    disown: true
"""

RETURN = r"""
path:
  description: The file.
  returned: always
  type: str
  sample: /etc/deployd/apps/shop.toml
settings:
  description: All settings as deployd uses them, as C(deployctl show --json) prints them.
  returned: when the app is there, but for check mode
  type: dict
findings:
  description: What C(deployctl check) found.
  returned: when the app is there and O(check) is not V(no), but for check mode
  type: list
  elements: dict
  sample:
    - id: session-driver
      severity: breaks
      group: php
      thing: SESSION_DRIVER=array
      place: /srv/shop/shared/.env
      happens: sessions end with the request
      remedy: SESSION_DRIVER=database
outcome:
  description: How it ended when it failed.
  returned: failure
  type: str
  sample: rejected
remedy:
  description: What to do about the failure.
  returned: failure
  type: str
rc:
  description: The exit status of deployctl, see deployctl(1).
  returned: failure
  type: int
  sample: 3
"""

import os
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.deployd.deployd.plugins.module_utils import toml
from ansible_collections.deployd.deployd.plugins.module_utils.deployctl import Deployctl, is_app_name, parse

APPS = "/etc/deployd/apps"
BREAKS = 9


def read(path):
    """The file's bytes; None when there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def put(module, path, content):
    """Writes the file beside its place and renames it there."""
    handle, beside = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    os.chmod(beside, 0o644)
    module.atomic_move(beside, path)


def take_back(module, path, before):
    """The file as it was."""
    if before is None:
        os.unlink(path)
    else:
        put(module, path, before)


def wanted_content(module):
    """What shall stand in the file."""
    if module.params["content"] is not None:
        content = module.params["content"]
        return (content if content.endswith("\n") else content + "\n").encode()
    try:
        return toml.dump(module.params["settings"]).encode()
    except ValueError as error:
        module.fail_json(msg=str(error))


def file_diff(path, before, after):
    """What --diff shows."""
    shown = {"before_header": path, "after_header": path}
    return dict(shown, before=(before or b"").decode("utf-8", "replace"), after=after.decode("utf-8", "replace"))


def look_at_host(module, ctl):
    """What breaks the promise, told as O(check) wants it."""
    name, how = module.params["name"], module.params["check"]
    rc, out, err = ctl.run(["--json", "check", name])
    value = parse(out)
    if rc not in (0, BREAKS) or value is None:
        if how == "fail":
            ctl.fail(rc, value, err)
        module.warn("{0}: deployctl check could not look at the host: {1}".format(name, err.strip()))
        return []
    findings = value["findings"]
    breaks = ["{thing} ({place}): {happens}; {remedy}".format(**one) for one in findings if one["severity"] == "breaks"]
    if breaks and how == "fail":
        module.fail_json(msg="{0}: {1}".format(name, " | ".join(breaks)), outcome="rejected", rc=rc, findings=findings,
                         remedy="`deployctl check {0}` tells all".format(name))
    for one in breaks:
        module.warn("{0}: {1}".format(name, one))
    return findings


def present(module, path):
    """Writes the file when it is another one, and has it read, also when it is the same."""
    ctl = Deployctl(module)
    name, before, after = module.params["name"], read(path), wanted_content(module)
    changed = before != after
    diff = file_diff(path, before, after)
    result = {"changed": changed, "path": path, "diff": diff}
    if module.check_mode:
        return result
    if changed:
        put(module, path, after)
    result["changed"] = module.set_mode_if_different(path, "0644", changed)
    rc, out, err = ctl.run(["--json", "show", name])
    result["settings"] = parse(out)
    if rc != 0 or result["settings"] is None:
        if changed:
            take_back(module, path, before)
        ctl.fail(rc, None, err, path=path, diff=diff)
    if module.params["check"] != "no":
        result["findings"] = look_at_host(module, ctl)
    return result


def absent(module, path):
    """Removes the file, or has the tree given back, which moves it away."""
    before = read(path)
    result = {"changed": before is not None, "path": path}
    if before is None:
        return result
    result["diff"] = file_diff(path, before, b"")
    if module.check_mode:
        return result
    if module.params["disown"]:
        ctl = Deployctl(module)
        rc, out, err = ctl.run(["disown", module.params["name"], "--yes"])
        if rc != 0:
            ctl.fail(rc, None, err or out, path=path)
        result["msg"] = out.strip()
    else:
        os.unlink(path)
    return result


def main():
    """As Ansible runs it."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True, "aliases": ["app"]},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "content": {"type": "str"},
            "settings": {"type": "dict"},
            "check": {"type": "str", "choices": ["no", "warn", "fail"], "default": "warn"},
            "disown": {"type": "bool", "default": False},
        },
        mutually_exclusive=[("content", "settings")],
        required_if=[("state", "present", ["content", "settings"], True)],
        supports_check_mode=True,
    )
    name = module.params["name"]
    if not is_app_name(name):
        module.fail_json(msg="{0!r} is no name of an app: lower case letters, digits, _ and single - between them, at "
                             "most 32, a letter first".format(name))
    path = os.path.join(APPS, name + ".toml")
    module.exit_json(**(present if module.params["state"] == "present" else absent)(module, path))


if __name__ == "__main__":
    main()
