# SPDX-License-Identifier: Apache-2.0
"""What services sign for each other: keys, tokens, results, transcripts."""
