# SPDX-License-Identifier: Apache-2.0
"""Many simulated hosts against a real service, its databases and Keystone.

``plan`` says who the hosts are, from a seed; ``soft`` is a TPM in software;
``host`` is a host with the real agent's voice; ``run`` has them attest and
hand keys over; ``tally`` counts and judges what the service made of it.
``stack`` and the modules that it names start what they talk to.
"""
