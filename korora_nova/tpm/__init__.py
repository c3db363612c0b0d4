# SPDX-License-Identifier: Apache-2.0
"""The TPM of this host; the only importer of tpm2_pytss."""

import os

# The stack logs to stderr unless told not to before it is loaded.
os.environ.setdefault('TSS2_LOG', 'all+NONE')
