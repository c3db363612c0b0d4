# SPDX-License-Identifier: Apache-2.0
"""Bare Debian systems with systemd, to install on what operators install.

:mod:`.machine` boots them, :mod:`.packages` builds the Debian packages; the
stages ``ansible``, ``deb`` and ``systemd_security`` of ``tools/prove
ecosystem`` use both.
"""
