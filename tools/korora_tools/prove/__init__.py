# SPDX-License-Identifier: Apache-2.0
"""Claims of the project, each shown by one command.

``cli`` has the table; each claim is a module with ``ABOUT`` (a line),
``NEEDS_SETUP``, ``add_options`` and ``prove``, which returns the report and
whether it shows what is claimed.
"""
