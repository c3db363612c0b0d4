# SPDX-License-Identifier: Apache-2.0
"""One function per call: read, ask a use case, answer."""
