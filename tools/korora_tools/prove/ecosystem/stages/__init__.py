# SPDX-License-Identifier: Apache-2.0
"""One module for each stage; the package above says what it has."""
