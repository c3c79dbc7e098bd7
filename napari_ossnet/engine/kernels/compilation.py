"""Whether compiled kernels are to be had, and compiling them: late, cached on disk, free of the interpreter's lock.

Kernels are plain functions over NumPy arrays; what they call lies in their own module. So this is the only file that
knows numba, and every kernel also runs interpreted, which is how the tests cover it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

#: Set to 0 to do without compiled kernels, whatever is installed.
SWITCH = "OSSNET_COMPILED"
#: Multiply-adds may be fused; values that are not numbers keep their meaning.
_LICENCES = {"contract", "arcp", "nsz"}

_log = logging.getLogger(__name__)


def is_compiled() -> bool:
    """Whether kernels are compiled: numba is installed and works here, and nobody has switched it off."""
    return os.environ.get(SWITCH, "1") != "0" and _has_numba()


@cache
def _has_numba() -> bool:
    try:
        import numba
    except ImportError as error:  # also where numba is too old for the NumPy at hand
        _log.info("No compiled kernels (%s); pip install 'napari-ossnet[fast]' speeds up CPUs.", error)
        return False
    return bool(numba.__version__)


@cache
def compiled(function: Callable[..., Any], *, do_reorder: bool = False) -> Callable[..., Any]:
    """A function over NumPy arrays as machine code; it lets go of the interpreter's lock while it runs.

    Args:
        function: The kernel; functions of its module that it calls are compiled with it.
        do_reorder: Whether terms may be re-ordered, which lets sums be vectorised; products may then overflow where
            they would not as they are written.
    """
    try:
        return _jit(function, do_reorder, is_cached=True)
    except RuntimeError:
        # Neither the package's folder nor the user's cache can be written: compile anew in each process.
        return _jit(function, do_reorder, is_cached=False)


def _jit(function: Callable[..., Any], do_reorder: bool, *, is_cached: bool) -> Any:
    import numba

    licences = _LICENCES | {"reassoc"} if do_reorder else _LICENCES
    linked = _with_compiled_callees(function, do_reorder)
    return numba.njit(nogil=True, cache=is_cached, fastmath=licences, error_model="numpy")(linked)


def _with_compiled_callees(function: Callable[..., Any], do_reorder: bool) -> FunctionType:
    """The same function, looking up compiled versions of the module's functions that it names."""
    assert isinstance(function, FunctionType)
    # Not cached by themselves: numba's cache does not know a callee's licences. They are part of the kernel's entry.
    callees = {
        name: _jit(value, do_reorder, is_cached=False)
        for name in function.__code__.co_names
        if isinstance(value := function.__globals__.get(name), FunctionType) and value.__module__ == function.__module__
    }
    linked = FunctionType(function.__code__, function.__globals__ | callees, function.__name__)
    linked.__qualname__, linked.__module__ = function.__qualname__, function.__module__
    return linked
