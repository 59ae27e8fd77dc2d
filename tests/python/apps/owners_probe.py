# SPDX-License-Identifier: Apache-2.0
"""Opens handles as an adapter does: through the adapter's own module, for who runs now, with the user's frames. Without
unclosed: nothing."""
import itertools
import sys

numbers = itertools.count(1)


def keep(name):
    """Opens a handle to `name`, which nothing closes."""
    package = sys.modules.get("_unclosed")
    if package is None:
        return
    native, context = package._native, package.context
    kind, number = native.kind("probe.handle"), next(numbers)
    native.opened(kind, number, context.frame())
    owner = context.owner()
    if owner:
        native.owned_by(kind, number, owner)
    native.target(kind, number, name)


def keep_native(name):
    """As keep(), but as libunclosed.so sees a driver's handle: it is the thread's owner's."""
    package = sys.modules.get("_unclosed")
    if package is not None:
        kind, number = package._native.kind("probe.handle"), next(numbers)
        package._native.opened(kind, number)
        package._native.target(kind, number, name)
