# SPDX-License-Identifier: Apache-2.0
"""Views against the service in this process."""
