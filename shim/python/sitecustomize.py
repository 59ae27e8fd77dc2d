# SPDX-License-Identifier: Apache-2.0
"""Starts unclosed's adapter in a Python program, and leaves no other trace.

libunclosed.so has put the directory of this file in front of PYTHONPATH, so that `site` imports it instead of the
sitecustomize that the program may have. It takes the directory away again, starts the package _unclosed, and then is
that other sitecustomize: whatever that one raises, also that there is none, is what `site` gets to see.

Runs in any Python, from 2.7 on. No functions here, so that no reference cycle is left to the garbage collector.
"""

import os
import sys

_own = os.path.dirname(os.path.abspath(__file__))
_instead = []
_first, _colon, _rest = os.environ.get("PYTHONPATH", "").partition(os.pathsep)
if _first and os.path.abspath(_first) == _own:
    if _colon:
        os.environ["PYTHONPATH"] = _rest
    elif _first.endswith("/"):  # the shim's sign for a variable that was there, and empty
        os.environ["PYTHONPATH"] = ""
        _instead = [os.getcwd()] if sys.version_info[0] < 3 else []
    else:
        del os.environ["PYTHONPATH"]
if _own in sys.path:
    _at = sys.path.index(_own)
    sys.path[_at : _at + 1] = _instead
for _place in (_own, _own + "/"):
    sys.path_importer_cache.pop(_place, None)

if sys.version_info >= (3, 9) and sys.implementation.name == "cpython" and not hasattr(sys, "getobjects"):
    try:
        # By its place, not by its name: no finder of the program is asked, and no cache remembers.
        from _frozen_importlib import module_from_spec
        from _frozen_importlib_external import spec_from_file_location

        _spec = spec_from_file_location(
            "_unclosed", _own + "/_unclosed/__init__.py", submodule_search_locations=[_own + "/_unclosed"]
        )
        sys.modules["_unclosed"] = _package = module_from_spec(_spec)
        _spec.loader.exec_module(_package)
        _package.start()
    except Exception:
        for _name in [_name for _name in sys.modules if _name.partition(".")[0] == "_unclosed"]:
            del sys.modules[_name]
        sys.path_importer_cache.pop(_own + "/_unclosed", None)

if sys.version_info[0] < 3:
    _kept = sys.modules["sitecustomize"]  # Python 2 empties a module that nobody refers to
del sys.modules["sitecustomize"]
import sitecustomize  # noqa: E402, F401
