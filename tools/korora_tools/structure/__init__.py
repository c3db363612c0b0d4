# SPDX-License-Identifier: Apache-2.0
"""Four figures of the package's structure, as one line of JSON.

``python3 -m korora_tools.structure`` in the root of a checkout prints them;
``--details`` lists what they count. Only the standard library is needed, and
nothing of the package is imported.

cycles
    Import cycles: strongly connected groups of two or more modules. Every
    import statement counts, also one inside a function or below
    TYPE_CHECKING. ``import a.b.c`` depends on the module a.b.c, and ``from
    a.b import c`` on a.b.c if that is a module, else on a.b. A package's
    ``__init__`` is a module like any other: others depend on it if they take
    something from it, not because Python runs it on the way to its modules.
dict_any
    How often ``dict[str, Any]`` is written, or the same with Dict, Mapping or
    MutableMapping, plus every use of an alias of one (of ``one | None``,
    too). The alias may stand in another module; an import is not a use.
files_over_400
    Files of more than 400 lines.
function_p95
    The length that 95 of 100 functions do not exceed, in lines from ``def``
    to the last one; methods and nested functions count, too.
"""
