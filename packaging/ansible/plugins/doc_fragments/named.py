# Copyright (c) 2026 The deployd authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules for one app have in common."""

from __future__ import annotations


class ModuleDocFragment:
    """The app, by its name."""

    DOCUMENTATION = r"""
options:
  name:
    description: The app, as its file in C(/etc/deployd/apps) is called.
    type: str
    required: true
    aliases: [app]
requirements:
  - deployd on the managed host
"""
