# SPDX-License-Identifier: Apache-2.0
"""The panel in Chromium, against a cloud that the stage has made."""
