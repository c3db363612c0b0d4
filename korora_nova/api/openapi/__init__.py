# SPDX-License-Identifier: Apache-2.0
"""The API as an OpenAPI 3.1 document, made of routes, rules and schemas.

Pure: :func:`.document.build` takes nothing and gives a JSON object. What a
route answers is in :mod:`.operations`, and the form of answers in
:mod:`.shapes`; tests hold both against what the service answers.
"""
