"""WebAssembly: clear.wat and add.wat, compiled when an ensemble is loaded, and the memory that they work in.

Owns how they are compiled, called and stopped: what would leave the memory traps. Knows nothing of trees.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from wasmtime import Config, Engine, Func, Instance, Limits, Memory, MemoryType, Module, Store, Trap, WasmtimeError

__all__ = ["STOPPED", "Layout", "Program"]

STOPPED = (Trap, WasmtimeError)
"""Errors of WebAssembly: a trap, or a module or memory that wasmtime refuses."""
PAGE = 1 << 16
_ALIGNMENT = 16
_MOST_ARGUMENTS = 12
_ARGUMENTS = {"clear": 12, "clear_many": 6, "add_narrow": 6, "add_wide": 8, "add_votes": 12}
"""Numbers of arguments of the exported functions. They lie at the beginning of the memory, 32 bits each: a call that
hands over none takes 8 µs, and 5 more for each that it does."""


class Layout:
    """Layout of a memory, address by address."""

    def __init__(self) -> None:
        self._size = 4 * _MOST_ARGUMENTS
        self._contents: list[tuple[int, npt.NDArray[Any]]] = []

    def reserve(self, size: int) -> int:
        """Return the address of so many bytes."""
        address = -(-self._size // _ALIGNMENT) * _ALIGNMENT
        self._size = address + size
        return address

    def place(self, array: npt.NDArray[Any]) -> int:
        """Return the address at which the array will lie."""
        address = self.reserve(array.nbytes)
        self._contents.append((address, array))
        return address

    def open(self, weight: np.dtype[Any]) -> Program:
        """Return a program whose memory holds this, for weights of this type.

        Raises:
            STOPPED: it is more than a memory can hold.
        """
        program = Program(weight, self._size)
        for address, array in self._contents:
            program.view(address, array.shape, array.dtype)[...] = array
        return program


class Program:
    """A module and its memory, which never grows, so that views of it stay valid. For one thread at a time."""

    def __init__(self, weight: np.dtype[Any], size: int) -> None:
        module = _compile(weight.itemsize)
        self._store = Store(_engine())
        pages = -(-size // PAGE)
        memory = Memory(self._store, MemoryType(Limits(pages, pages)))
        instance = Instance(self._store, module, [memory])
        self._bytes: npt.NDArray[np.uint8] = np.ctypeslib.as_array(memory.get_buffer_ptr(self._store))
        self._arguments = self.view(0, (_MOST_ARGUMENTS,), np.dtype(np.uint32))
        exports = instance.exports(self._store)
        self._functions = {name: cast(Func, exports[name]) for name in _ARGUMENTS}

    def view(self, address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """Return the array that lies there; valid as long as the program is."""
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return self._bytes[address : address + size].view(dtype).reshape(shape)

    def call(self, name: str, *arguments: int) -> None:
        """Run a function of the module; others run meanwhile, for it does not need the GIL.

        Raises:
            STOPPED: it would have read or written outside of its memory.
        """
        self._arguments[: len(arguments)] = arguments
        self._functions[name](self._store)


@cache
def _engine() -> Engine:
    config = Config()
    # The code compares each address with the end of the memory. Otherwise a signal handler would see to that, in a
    # process where others have handlers, too, and each memory would take 4 GB of addresses, which may be limited.
    config.signals_based_traps = False
    config.memory_reservation = config.memory_reservation_for_growth = config.memory_guard_size = 0
    config.memory_may_move = False
    config.parallel_compilation = False  # 5 ms are not worth a pool of threads
    return Engine(config)


@cache
def _compile(weight_bytes: int) -> Module:
    """Return the module for float32 or float64 weights."""
    clear, add = (Path(__file__).with_name(name).read_text() for name in ("clear.wat", "add.wat"))
    add = add.replace("float", f"f{8 * weight_bytes}").replace("SHIFT", str(weight_bytes.bit_length() - 1))
    entries = "\n".join(_enter(name, count) for name, count in _ARGUMENTS.items())
    return Module(_engine(), f'(module (import "ranker" "memory" (memory 1))\n{clear}\n{add}\n{entries})')


def _enter(name: str, arguments: int) -> str:
    """Return what calls a function with the arguments that lie at the beginning of the memory."""
    loads = " ".join(f"(i32.load offset={4 * i} (i32.const 0))" for i in range(arguments))
    return f'(func (export "{name}") (call ${name} {loads}))'
