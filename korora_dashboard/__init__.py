# SPDX-License-Identifier: Apache-2.0
"""A panel of Horizon for the attestation service.

It asks the service's API with the token of whoever looks, keeps nothing, and
decides nothing: what may be done is for the service to say.
"""
