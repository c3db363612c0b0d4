# SPDX-License-Identifier: Apache-2.0
"""The panel in Chromium, against the lab: ``./tools/lab up --horizon``."""
