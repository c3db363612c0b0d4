# SPDX-License-Identifier: Apache-2.0
"""Sources of verdicts: this service's own appraisal, and other verifiers.

base       what a driver is
chosen     which are configured, and which of them count
native     the appraisal of this service
keylime    an existing Keylime verifier
static     a file; proves nothing
verdicts   what they said last, in the database
judged     what all of it comes to when a host attests
asking     asks them all, again and again, in a process of its own
lowering   a result that does not stand any more
"""
