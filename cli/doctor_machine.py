"""This machine: GPUs, codecs, shared memory, open files, room for resident maps."""

import io
import os
import resource
import shutil
from pathlib import Path

from cache_store.errors import ScaeError
from cli.doctor_check import OK, PROBLEM, WARNING, Check, size_text

DRIVER = Path("/proc/driver/nvidia/version")
"""There where an NVIDIA driver is loaded."""
SHARED_MEMORY = Path("/dev/shm")  # looked at, not written
MIN_SHARED, GOOD_SHARED = 65 << 20, 1 << 30
"""A container's usual 64 MiB hold no batch of 128 images of 224x224, 77 MB."""
MIN_FILES, GOOD_FILES = 256, 1024
"""Open files: each batch under way and each connection takes some."""
MIN_ROOM, GOOD_ROOM = 64 << 20, 1 << 30
"""Free bytes for resident maps; ImageNet's at 7x7 take 73 MB a generation."""


def machine_checks() -> list[Check]:
    """Check what every command needs."""
    return [*_devices(), _jpeg(), _blosc(), _shared_memory(), _open_files(), _resident()]


def room_check(name: str, folder: Path, cure: str) -> Check:
    """Check the free room of a folder that is there."""
    free = shutil.disk_usage(folder).free
    found = f"{size_text(free)} free in {folder}"
    if free < MIN_ROOM:
        return Check(name, PROBLEM, found, cure)
    return Check(name, WARNING, found, cure) if free < GOOD_ROOM else Check(name, OK, found)


def _devices() -> list[Check]:
    try:
        import torch
    except (ImportError, OSError) as error:  # a missing library of the system is an OSError
        return [Check.of_error("gpu", error, "install torch again: it can't be imported")]
    cores = len(os.sched_getaffinity(0))
    count = torch.cuda.device_count()
    if count:
        return [_gpu(index) for index in range(count)]
    found = f"none, computes on {cores} CPU cores"
    if not DRIVER.exists():
        return [Check("gpu", OK, found)]
    if torch.version.cuda is None:
        cure = "install a torch with CUDA"
        return [Check("gpu", WARNING, f"{found}: a driver is there, torch is for CPUs", cure)]
    cure = "check CUDA_VISIBLE_DEVICES and nvidia-smi"
    return [Check("gpu", WARNING, f"{found}: a driver is there, torch sees no GPU", cure)]


def _gpu(index: int) -> Check:
    import torch

    name = f"gpu {index}"
    try:
        traits = torch.cuda.get_device_properties(index)
        total = torch.ones(8, device=f"cuda:{index}").sum().item()
        free, memory = torch.cuda.mem_get_info(index)
    except (RuntimeError, AssertionError) as error:
        return Check.of_error(name, error, "is it in use by others? see nvidia-smi")
    if total != 8:
        return Check(name, PROBLEM, f"{traits.name} adds eight ones to {total}", "have it checked")
    return Check(name, OK, f"{traits.name}, {size_text(free)} of {size_text(memory)} free")


def _jpeg() -> Check:
    """Decode a small photograph's worth of grey steps and compare with Pillow."""
    name, cure = "jpeg decoder", "install simplejpeg again"
    try:
        import numpy as np
        import simplejpeg
        from PIL import Image

        steps = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None], 64, axis=0)
        buffer = io.BytesIO()
        Image.fromarray(steps).save(buffer, "JPEG", quality=95)
        content = buffer.getvalue()
        pixels = simplejpeg.decode_jpeg(content, "RGB").astype(int)
        with Image.open(io.BytesIO(content)) as image:
            differ = int(np.abs(pixels - np.asarray(image.convert("RGB"))).max())
    except (ImportError, OSError, ValueError) as error:
        return Check.of_error(name, error, cure)
    if differ > 1:
        return Check(name, PROBLEM, f"differs from Pillow by {differ} grey values", cure)
    return Check(name, OK, "simplejpeg decodes as Pillow does")


def _blosc() -> Check:
    name, cure = "blosc/zstd", "install numcodecs again"
    try:
        import numpy as np
        from numcodecs.blosc import Blosc

        maps = (np.arange(4096) // 7 % 251).astype(np.uint8)
        codec = Blosc("zstd", clevel=5, shuffle=Blosc.NOSHUFFLE)
        packed = codec.encode(maps)
        same = np.array_equal(np.frombuffer(codec.decode(packed), np.uint8), maps)
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        return Check.of_error(name, error, cure)
    if not same:
        return Check(name, PROBLEM, "bytes do not survive a round trip", cure)
    return Check(name, OK, f"{maps.nbytes} bytes survive a round trip through {len(packed)}")


def _shared_memory() -> Check:
    name, cure = str(SHARED_MEMORY), "in a container: --shm-size=8g or --ipc=host"
    try:
        usage = shutil.disk_usage(SHARED_MEMORY)
    except OSError as error:
        return Check(name, PROBLEM, f"can't be used: {error.strerror}", cure)
    found = f"{size_text(usage.free)} of {size_text(usage.total)} free"
    if not os.access(SHARED_MEMORY, os.W_OK):
        return Check(name, PROBLEM, f"{found}, but not writable", cure)
    if usage.free < MIN_SHARED:
        return Check(name, PROBLEM, f"{found}: loader workers hand over batches there", cure)
    return Check(name, WARNING, found, cure) if usage.free < GOOD_SHARED else Check(name, OK, found)


def _open_files() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    shown = ["unlimited" if one == resource.RLIM_INFINITY else str(one) for one in (soft, hard)]
    found = f"{shown[0]} open files, at most {shown[1]}"
    cure = "`ulimit -n 4096` before the command; loader workers and Dask connections need them"
    if soft == resource.RLIM_INFINITY or soft >= GOOD_FILES:
        return Check("ulimit -n", OK, found)
    return Check("ulimit -n", PROBLEM if soft < MIN_FILES else WARNING, found, cure)


def _resident() -> Check:
    from cache_store.resident import resident_folder

    try:
        folder = resident_folder()
    except ScaeError as error:
        return Check.of_error("resident maps", error)
    cure = "set SCAE_RESIDENT_DIR to a folder with room, or run `scae cache gc CACHE --resident`"
    if not os.access(folder, os.W_OK):
        return Check("resident maps", PROBLEM, f"{folder} is not writable", cure)
    return room_check("resident maps", folder, cure)
