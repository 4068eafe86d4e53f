"""The little of the CUDA driver that is needed, through ctypes: no pycuda, no torch, no CUDA toolkit on the device."""

import ctypes
import math
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

from deploy.errors import EngineError, ProviderMissing

LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR


def load_library() -> Any:
    """The driver's own library. Raises OSError where no driver is installed."""
    return ctypes.CDLL(LIBRARY)


class Driver:
    """The first GPU the driver shows, with its primary context (the one TensorRT uses as well) and one stream.

    Device and pinned host memory are allocated once and live as long as this object. Raises ProviderMissing without a working
    driver and GPU, EngineError when a call fails.
    """

    def __init__(self) -> None:
        try:
            self._library = load_library()
        except OSError as error:
            raise ProviderMissing(
                f"no NVIDIA driver was found ({LIBRARY} does not load: {error}), and TensorRT needs one; "
                "install it, give the container its GPU, or use the CPU"
            ) from error
        count = ctypes.c_int()
        try:
            self._call("cuInit", ctypes.c_uint(0))
            self._call("cuDeviceGetCount", ctypes.byref(count))
        except EngineError as error:
            raise ProviderMissing(
                f"the NVIDIA driver does not start ({error}); check nvidia-smi, reboot after a driver update, or use the CPU"
            ) from error
        if count.value < 1:
            raise ProviderMissing("the NVIDIA driver shows no GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES, or use the CPU")
        device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
        self._call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
        self._call("cuDeviceGetName", name, ctypes.c_int(256), device)
        self.gpu = name.value.decode(errors="replace")
        major, minor = (self._attribute(which, device) for which in (_MAJOR, _MINOR))
        self.capability = f"{major}.{minor}"
        self._context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), device)
        self.enter()
        # The context itself is never given back: TensorRT's objects live in it and may outlast this one.
        owned: list[tuple[str, Any]] = []
        self._owned = owned
        weakref.finalize(self, _release, self._library, self._context, owned).atexit = False
        stream = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(stream), ctypes.c_uint(0))
        owned.append(("cuStreamDestroy_v2", stream))
        self._stream = stream

    @property
    def stream(self) -> int:
        """The stream's handle, as TensorRT takes it."""
        return int(self._stream.value or 0)

    def enter(self) -> None:
        """Make the context current in this thread; another one may have opened the engine."""
        self._call("cuCtxSetCurrent", self._context)

    def device_memory(self, size: int) -> int:
        """The address of `size` bytes on the GPU."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        self._owned.append(("cuMemFree_v2", address))
        return address.value

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """An array in page-locked host memory, which the GPU can copy from and to while the CPU goes on."""
        size = math.prod(shape) * dtype.itemsize
        address = ctypes.c_void_p()
        self._call("cuMemHostAlloc", ctypes.byref(address), ctypes.c_size_t(size), ctypes.c_uint(0))
        self._owned.append(("cuMemFreeHost", address))
        memory = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address.value or 0))
        return memory.view(dtype).reshape(shape)

    def upload(self, to: int, array: npt.NDArray[Any]) -> None:
        """Queue a copy of a pinned, contiguous array to the GPU."""
        source = ctypes.c_void_p(array.ctypes.data)
        self._call("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(to), source, ctypes.c_size_t(array.nbytes), self._stream)

    def download(self, array: npt.NDArray[Any], source: int) -> None:
        """Queue a copy from the GPU into a pinned, contiguous array; it holds the answer after `wait`."""
        to = ctypes.c_void_p(array.ctypes.data)
        self._call("cuMemcpyDtoHAsync_v2", to, ctypes.c_uint64(source), ctypes.c_size_t(array.nbytes), self._stream)

    def wait(self) -> None:
        """Until all that was queued is done; what failed on the GPU is raised here."""
        self._call("cuStreamSynchronize", self._stream)

    def _attribute(self, which: int, device: ctypes.c_int) -> int:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(which), device)
        return value.value

    def _call(self, name: str, *arguments: Any) -> None:
        if code := getattr(self._library, name)(*arguments):
            text = ctypes.c_char_p()
            self._library.cuGetErrorString(ctypes.c_int(code), ctypes.byref(text))
            raise EngineError(f"{name} failed with {code}, {(text.value or b'unknown').decode(errors='replace')}")


def _release(library: Any, context: ctypes.c_void_p, owned: list[tuple[str, Any]]) -> None:
    library.cuCtxSetCurrent(context)
    for free, what in reversed(owned):
        getattr(library, free)(what)
    owned.clear()
