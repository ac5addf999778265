"""The program that drops foreign packets at the driver, by libbpf (iproute2 brings it).

Rule 1: no compiler: what is loaded is vipnft/bpf/foreign.o, which `make bpf` makes.
Rule 2: a loaded program is changed by its maps alone, and whoever did not load it gets these only
        with CAP_SYS_ADMIN: who begins anew loads anew, and replaces.
Rule 3: no callback into Python: systemd's MemoryDenyWriteExecute= forbids what that takes.
"""

import ctypes
import enum
import errno
import hashlib
import os
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

from vipnft.errors import KernelError

OBJECT = Path(__file__).parents[1] / "bpf/foreign.o"
NAME = "vipnft_foreign"
"""What the program is called in the kernel, where it cuts names after 15 letters."""
PACKAGE = "install libbpf.so.1: libbpf1 in Debian, libbpf in Fedora, which iproute2 brings"
DROP_IN = (
    "run it as root, or give the unit CAP_BPF:"
    " /usr/share/doc/vipnft/examples/xdp.conf, docs/operating.md"
)
_IF_NONE, _GENERIC, _NATIVE, _REPLACE = 1, 2, 4, 16  # linux/if_link.h: XDP_FLAGS_...
_XDP_DROP = 1  # linux/bpf.h
_BASIC = 1  # linux/netdev.h: NETDEV_XDP_ACT_BASIC
_RODATA = ".rodata"
_PROGRAM_INFO = struct.Struct("=II8s32xIIQ16s")  # linux/bpf.h: struct bpf_prog_info, its begin
_MAP_INFO = struct.Struct("=6I16s")  # struct bpf_map_info, its begin
_MAPS = 8  # of a program; this one has three


class Where(enum.StrEnum):
    """Where a program runs: in the driver, or where the kernel has made an skb already."""

    NATIVE = "native"
    GENERIC = "generic"


@dataclass(frozen=True, slots=True)
class Attached:
    """The program on an interface: its number, which no other has until the machine restarts."""

    number: int
    where: Where


class _OpenOpts(ctypes.Structure):
    _fields_ = (("sz", ctypes.c_size_t), ("object_name", ctypes.c_char_p))


class _AttachOpts(ctypes.Structure):
    _fields_ = (("sz", ctypes.c_size_t), ("old", ctypes.c_int), ("pad", ctypes.c_int))


class _QueryOpts(ctypes.Structure):
    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("prog_id", ctypes.c_uint32),
        ("native_id", ctypes.c_uint32),
        ("hardware_id", ctypes.c_uint32),
        ("generic_id", ctypes.c_uint32),
        ("mode", ctypes.c_uint8),
        ("features", ctypes.c_uint64),  # since libbpf 1.2; before, it stays 0
    )


class RunOpts(ctypes.Structure):
    """How a program is tried: struct bpf_test_run_opts of libbpf."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_char_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    )


class Program:
    """A program and its maps, held by this process until closed; attached, it stays without."""

    def __init__(self, fd: int, maps: dict[str, int], close: Callable[[], object]) -> None:
        self.fd, self._maps, self._close = fd, maps, close
        self.number, self.name, _ = _program_info(fd)
        self.buckets: int = _map_info(maps["dropped"])[4]

    @classmethod
    def load(cls, told: bytes, buckets: int) -> Self:
        """Load it for an interface, as `ruleset.stage` tells it; it drops nothing yet."""
        bpf, whole = _library(), _object()
        options = _OpenOpts(ctypes.sizeof(_OpenOpts), b"vipnft")
        opened = _pointer(bpf.bpf_object__open_mem, whole, len(whole), ctypes.byref(options))
        try:
            found = {
                name: _pointer(bpf.bpf_object__find_map_by_name, opened, name.encode())
                for name in ("foreign", "dropped", _RODATA)
            }
            _asked(
                "have so many buckets",
                bpf.bpf_map__set_max_entries,
                found["foreign"],
                -(-buckets // 64),
            )
            _asked("have so many buckets", bpf.bpf_map__set_max_entries, found["dropped"], buckets)
            _asked("be told", bpf.bpf_map__set_initial_value, found[_RODATA], told, len(told))
            _asked("be loaded", bpf.bpf_object__load, opened)
            program = _pointer(bpf.bpf_object__find_program_by_name, opened, NAME.encode())
            maps = {name: bpf.bpf_map__fd(one) for name, one in found.items()}
            return cls(bpf.bpf_program__fd(program), maps, lambda: bpf.bpf_object__close(opened))
        except BaseException:
            bpf.bpf_object__close(opened)
            raise

    @classmethod
    def of(cls, number: int) -> Self | None:
        """Return ours of this number, attached by whomever; None if that is not to be had: it is
        another's, or gone, or this process has no CAP_SYS_ADMIN."""
        bpf, fds = _library(), []
        try:
            fd = _handle(bpf.bpf_prog_get_fd_by_id, number)
            fds.append(fd)
            _, name, numbers = _program_info(fd)
            if name != NAME:
                raise KernelError(name)
            maps = {}
            for one in numbers:
                fds.append(_handle(bpf.bpf_map_get_fd_by_id, one))
                called = _map_info(fds[-1])[6].rstrip(b"\0").decode()
                maps[_RODATA if called.endswith(_RODATA) else called] = fds[-1]
            return cls(fd, maps, lambda: _closed(fds))
        except (KernelError, KeyError):
            _closed(fds)
            return None

    def close(self) -> None:
        """Give its handles back."""
        self._close()

    def told(self) -> bytes:
        """Return what it was told when it was loaded."""
        size = _map_info(self._maps[_RODATA])[3]
        value = ctypes.create_string_buffer(size)
        key = struct.pack("=I", 0)
        _asked("be read", _library().bpf_map_lookup_elem, self._maps[_RODATA], key, value)
        return value.raw

    def drop(self, words: Sequence[int]) -> None:
        """Drop the packets of these buckets, 64 to a number, and let all others through."""
        keys = struct.pack(f"={len(words)}I", *range(len(words)))
        values = struct.pack(f"={len(words)}Q", *words)
        count, fd = ctypes.c_uint32(len(words)), self._maps["foreign"]
        update = _library().bpf_map_update_batch
        _asked("be told of buckets", update, fd, keys, values, ctypes.byref(count), None)

    def drops(self) -> tuple[int, ...]:
        """Return the buckets that it drops, as `drop` takes them."""
        return tuple(word for (word,) in struct.iter_unpack("=Q", self._read("foreign", 8)))

    def dropped(self) -> list[int]:
        """Return how many packets it dropped, by bucket."""
        cpus = _library().libbpf_num_possible_cpus()
        by_cpu = struct.iter_unpack(f"={cpus}Q", self._read("dropped", 8 * cpus))
        return [sum(several) for several in by_cpu]

    def run(self, frame: bytes) -> bool:
        """Tell whether it would drop a frame, of 14 bytes or more."""
        one = RunOpts(ctypes.sizeof(RunOpts), frame, data_size_in=len(frame), repeat=1)
        _asked("be tried", _library().bpf_prog_test_run_opts, self.fd, ctypes.byref(one))
        return bool(one.retval == _XDP_DROP)

    def _read(self, name: str, width: int) -> bytes:
        fd = self._maps[name]
        size = _map_info(fd)[4]
        keys, values = (ctypes.create_string_buffer(n * size) for n in (4, width))
        first, count = ctypes.c_uint32(), ctypes.c_uint32(size)
        several = (None, ctypes.byref(first), keys, values, ctypes.byref(count), None)
        _asked("be read", _library().bpf_map_lookup_batch, fd, *several)
        return values.raw


def version() -> str:
    """Return what tells the program that this process loads from one of another version."""
    return hashlib.sha256(_object()).hexdigest()[:16]


def attached(index: int) -> Attached | None:
    """Return the program on an interface, by its index; None where there is none."""
    found = _query(index)
    for number, where in (
        (found.native_id or found.hardware_id, Where.NATIVE),
        (found.generic_id, Where.GENERIC),
    ):
        if number:
            return Attached(number, where)
    return None


def offered(index: int) -> bool:
    """Tell whether a driver says that it runs programs: since Linux 6.3, to libbpf 1.2 and newer;
    False says nothing."""
    return bool(_query(index).features & _BASIC)


def attach(
    index: int, program: Program, where: Where, *, old: Program | None = None, fresh: bool = False
) -> None:
    """Put a program on an interface, in the place of the one that stands there: of `old`, if that
    is given, and of no other; if `fresh`, of none. KernelError if the driver takes none."""
    flags = _NATIVE if where is Where.NATIVE else _GENERIC
    flags |= (_REPLACE if old else 0) | (_IF_NONE if fresh else 0)
    options = _AttachOpts(ctypes.sizeof(_AttachOpts), old.fd) if old else None
    call = _library().bpf_xdp_attach
    _asked("run there", call, index, program.fd, flags, ctypes.byref(options) if options else None)


def detach(index: int, where: Where) -> None:
    """Take the program off an interface; one without any is fine."""
    flags = _NATIVE if where is Where.NATIVE else _GENERIC
    with suppress(_GoneError):
        _asked("be taken off", _library().bpf_xdp_detach, index, flags, None)


class _GoneError(KernelError):
    """The interface is gone, and its program with it."""


@cache
def _object() -> bytes:
    # Once: a newer one may be installed while this process goes on.
    return OBJECT.read_bytes()


@cache
def _library() -> Any:
    try:
        bpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise KernelError("there is no libbpf.so.1 on this machine", fix=PACKAGE) from error
    for name in (
        "bpf_object__open_mem",
        "bpf_object__find_map_by_name",
        "bpf_object__find_program_by_name",
    ):
        getattr(bpf, name).restype = ctypes.c_void_p
    bpf.libbpf_set_print(None)  # what it would say goes to standard error
    return bpf


def _pointer(call: Callable[..., int | None], *words: object) -> ctypes.c_void_p:
    found = call(*words)
    if not found:
        raise KernelError(f"{OBJECT.name} can't be used: {os.strerror(ctypes.get_errno())}")
    return ctypes.c_void_p(found)


def _asked(what: str, call: Callable[..., int], *words: object) -> int:
    """Call libbpf, whose numbers below 0 are the kernel's refusals."""
    number = call(*words)
    if number >= 0:
        return number
    why = os.strerror(-number)
    if -number == errno.ENODEV:
        raise _GoneError(f"the interface of the XDP program is gone: {why}")
    fix = DROP_IN if -number in {errno.EPERM, errno.EACCES} else ""
    raise KernelError(f"the XDP program can't {what}: {why}", fix=fix)


def _handle(call: Callable[..., int], number: int) -> int:
    return _asked("be had by its number", call, number)


def _closed(handles: Sequence[int]) -> None:
    for one in handles:
        os.close(one)


def _query(index: int) -> _QueryOpts:
    found = _QueryOpts(ctypes.sizeof(_QueryOpts))
    _asked("be asked for", _library().bpf_xdp_query, index, 0, ctypes.byref(found))
    return found


def _info(fd: int, shape: struct.Struct, *given: object) -> tuple[Any, ...]:
    held = ctypes.create_string_buffer(shape.pack(*given), shape.size)
    size = ctypes.c_uint32(shape.size)
    _asked("tell what it is", _library().bpf_obj_get_info_by_fd, fd, held, ctypes.byref(size))
    return shape.unpack(held.raw)


def _map_info(fd: int) -> tuple[Any, ...]:
    return _info(fd, _MAP_INFO, 0, 0, 0, 0, 0, 0, b"")


def _program_info(fd: int) -> tuple[int, str, tuple[int, ...]]:
    """Return a program's number, its name, and its maps' numbers."""
    maps = (ctypes.c_uint32 * _MAPS)()
    found = _info(fd, _PROGRAM_INFO, 0, 0, b"", 0, _MAPS, ctypes.addressof(maps), b"")
    return found[1], found[6].rstrip(b"\0").decode(), tuple(maps)[: found[4]]
