# SPDX-License-Identifier: Apache-2.0
"""Recorder of test vectors; ``tests/vectors/README.md`` describes it.

cli       the commands
packages  boot software of the distribution, unpacked but not installed
signing   keys of a machine's owner
guest     the initrd that records, and the disks it boots from or measures
machine   swtpm and QEMU: one boot, in an archive what the guest recorded
store     a recording as a directory of tests/vectors
uefi      recipes: firmware, boot loaders and banks
ima       recipes: policies and templates of the kernel's measurement list
quote     recipes: attestation keys and quotes of a TPM
keyforms  their keys as others hand them over
host      recipes: whole hosts with the quote of their own TPM
keylime   recipes: answers of a real Keylime verifier and registrar
hypervisor  recipes: Debian as it is installed, a day of its life
"""
