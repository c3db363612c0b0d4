# SPDX-License-Identifier: Apache-2.0
"""What the database keeps no longer: ``korora-manage db purge``.

- What nobody asks for any more, and what a host would send again, goes
  (:mod:`.leftovers`).
- What auditors ask for goes only when it is in a file whose digest the
  database names (:mod:`.archives`): the audit table (:mod:`.trail`), and
  documents with their hand-overs (:mod:`.history`).

Each step is a transaction of some rows. It may be run twice, at the same
time, and again after it was cut off.
"""
