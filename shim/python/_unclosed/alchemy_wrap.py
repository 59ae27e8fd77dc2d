# SPDX-License-Identifier: Apache-2.0
"""Putting wrappers in place of functions, so that the program cannot tell.

The real function is held by a cell of the wrapper and not by a global variable: at the interpreter's shutdown ours may be
None already, while SQLAlchemy still works.
"""

from functools import update_wrapper
from inspect import CO_VARARGS, CO_VARKEYWORDS

from . import context, hooks

# Told once, then silent: nothing of ours is raised into the program. KeyboardInterrupt and its like are the program's.
troubled = hooks.troubled


def replaced(owner, name, made):
    """owner.name = made(its real function), for a class or a module."""
    found = owner.__dict__[name]
    if isinstance(found, (classmethod, staticmethod)):
        setattr(owner, name, type(found)(wrapped(found.__func__, made)))
    else:
        setattr(owner, name, wrapped(found, made))


def wrapped(real, made):
    """Only if it takes what the real function takes; a wrapper that passes everything on, takes anything."""
    wrapper = made(real)
    if parameters_of(wrapper) not in (parameters_of(real), None):
        raise TypeError(f"{real.__qualname__} takes something else")
    return update_wrapper(wrapper, real)


def parameters_of(function):
    code = function.__code__
    if code.co_flags & CO_VARARGS:
        return None
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount], code.co_flags & CO_VARKEYWORDS


def constructor(real, begun):
    """A wrapper with the very parameters of `real`, which SQLAlchemy looks up in __code__: calls begun(self) after it."""
    code = real.__code__
    names = list(code.co_varnames)
    positional, keyword = names[: code.co_argcount], names[code.co_argcount :][: code.co_kwonlyargcount]
    rest = names[code.co_argcount + code.co_kwonlyargcount :]
    required = code.co_argcount - len(real.__defaults__ or ())
    declared = [name if i < required else f"{name}=None" for i, name in enumerate(positional)]
    given = list(positional)
    if code.co_flags & CO_VARARGS:
        many = rest.pop(0)
        declared.append(f"*{many}")
        given.append(f"*{many}")
    elif keyword:
        declared.append("*")
    declared += [name if name not in (real.__kwdefaults__ or {}) else f"{name}=None" for name in keyword]
    given += [f"{name}={name}" for name in keyword]
    if code.co_flags & CO_VARKEYWORDS:
        declared.append(f"**{rest[0]}")
        given.append(f"**{rest[0]}")
    source = f"""
def made(_real, _begun):
    def __init__({", ".join(declared)}):
        try:
            _real({", ".join(given)})
        except BaseException as error:
            hidden(error)
            raise
        _begun({positional[0]})
    return __init__
"""
    space = {"hidden": context.hidden}
    exec(compile(source, __file__, "exec"), space)
    wrapper = space["made"](real, begun)
    wrapper.__defaults__, wrapper.__kwdefaults__ = real.__defaults__, real.__kwdefaults__
    return update_wrapper(wrapper, real)
