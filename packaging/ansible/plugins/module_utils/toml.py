# Copyright (c) 2026 The deployd authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of an inventory as TOML: Python writes none by itself, and a managed host has nothing else that would."""

from __future__ import annotations

import json
import re

BARE = re.compile(r"[A-Za-z0-9_-]+")


def dump(settings):
    """A document: plain keys first, then tables and arrays of tables, in the order in which they were given."""
    plain, tables = [], []
    for name, value in settings.items():
        if isinstance(value, dict):
            tables.append(_table("[{0}]".format(_key(name)), value))
        elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            tables.extend(_table("[[{0}]]".format(_key(name)), one) for one in value)
        else:
            plain.append(_pair(name, value))
    return "\n".join((["".join(plain)] if plain else []) + tables)


def _table(head, settings):
    return head + "\n" + "".join(_pair(name, value) for name, value in settings.items())


def _pair(name, value):
    return "{0} = {1}\n".format(_key(name), _value(name, value))


def _key(name):
    name = str(name)
    return name if BARE.fullmatch(name) else _text(name)


def _text(text):
    # A string of JSON is one of TOML, but for DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(name, value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        # Of a subclass too: what a template gave is a string with a history.
        return _text(str(value))
    if isinstance(value, list):
        return "[{0}]".format(", ".join(_value(name, one) for one in value))
    if isinstance(value, dict):
        pairs = ("{0} = {1}".format(_key(key), _value(key, one)) for key, one in value.items())
        return "{{ {0} }}".format(", ".join(pairs)) if value else "{}"
    raise ValueError("{0}: TOML has no value for {1!r}; leave the key out".format(name, value))
