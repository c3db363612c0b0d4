# SPDX-License-Identifier: Apache-2.0
"""Run the README's commands on a bare Debian, as a stranger would.

``cli`` (options, report), ``stranger`` (what is typed there), ``root`` (the
bare system and how to run something in it), ``sources`` (which packages it
may install: those that this machine may).

``docs`` follows the installation guide on bare systems instead: ``document``
reads it, ``walk`` does it there, on two ``nodes`` with ``units`` in the place
of systemd.
"""
