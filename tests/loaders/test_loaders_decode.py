import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile
from torchvision.transforms.v2 import functional

from loaders.decode import decode_bytes, read_bytes, read_resized
from loaders.errors import DataError, ImageReadError, OptionError
from loaders.folder_data import FolderData
from loaders.image_data import ArrayData

RAMP_HWC = np.stack(
    [np.broadcast_to(np.arange(64) * 4, (48, 64)), np.full((48, 64), 90), np.full((48, 64), 200)],
    axis=2,
).astype(np.uint8)


def _decode(path: Path) -> np.ndarray:
    return decode_bytes(str(path), read_bytes(str(path)))


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _png_16_bit(image_HWC: np.ndarray, values: np.ndarray) -> bytes:
    """Return a 16-bit RGB PNG; Pillow can't write one."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    height, width, _ = image_HWC.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _files() -> dict[str, tuple[bytes, np.ndarray, int]]:
    """Return name -> (file, expected pixels, tolerance)."""
    colour = Image.fromarray(RAMP_HWC)
    grey_HW = RAMP_HWC[..., 0]
    grey_HWC = np.repeat(grey_HW[..., None], 3, axis=2)
    wide = grey_HW.astype(np.uint16) * 256 + 17
    rgba = Image.fromarray(np.dstack([RAMP_HWC, grey_HW]))
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees", which is ignored
    buffer = io.BytesIO()
    colour.save(buffer, "JPEG", quality=95, exif=exif)
    return {
        "rgb.jpg": (_encoded(colour, "JPEG", quality=95), RAMP_HWC, 8),
        "progressive.JPEG": (_encoded(colour, "JPEG", quality=95, progressive=1), RAMP_HWC, 8),
        "cmyk.jpg": (_encoded(colour.convert("CMYK"), "JPEG", quality=95), RAMP_HWC, 12),
        "grey.jpg": (_encoded(Image.fromarray(grey_HW), "JPEG", quality=95), grey_HWC, 8),
        "exif.jpg": (buffer.getvalue(), RAMP_HWC, 8),
        "rgb.png": (_encoded(colour, "PNG"), RAMP_HWC, 0),
        "grey.png": (_encoded(Image.fromarray(grey_HW), "PNG"), grey_HWC, 0),
        "rgba.png": (_encoded(rgba, "PNG"), RAMP_HWC, 0),
        "palette.png": (_encoded(colour.quantize(256), "PNG"), RAMP_HWC, 8),
        "grey16.png": (_encoded(Image.fromarray(wide), "PNG"), grey_HWC, 0),
        "rgb16.png": (_png_16_bit(RAMP_HWC, RAMP_HWC.astype(np.uint16) * 256 + 17), RAMP_HWC, 0),
        "rgb.bmp": (_encoded(colour, "BMP"), RAMP_HWC, 0),
        "rgb.ppm": (_encoded(colour, "PPM"), RAMP_HWC, 0),
        "grey16.ppm": (b"P5 64 48 65535\n" + wide.astype(">u2").tobytes(), grey_HWC, 0),
        "rgb.webp": (_encoded(colour, "WEBP", quality=95), RAMP_HWC, 16),
        "really-a-png.jpg": (_encoded(colour, "PNG"), RAMP_HWC, 0),
    }


@pytest.mark.parametrize("name", list(_files()))
def test_every_kind_of_file_becomes_8_bit_rgb(tmp_path: Path, name: str) -> None:
    content, expected_HWC, tolerance = _files()[name]
    (tmp_path / name).write_bytes(content)
    image_HWC = _decode(tmp_path / name)
    assert image_HWC.dtype == np.uint8
    assert image_HWC.flags.c_contiguous
    assert image_HWC.flags.writeable
    difference = np.abs(image_HWC.astype(int) - expected_HWC.astype(int))
    assert difference.max() <= tolerance


@pytest.mark.parametrize("name", ["rgb.jpg", "progressive.JPEG", "grey.jpg", "exif.jpg"])
def test_jpegs_have_the_bytes_that_pillow_gives(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(_files()[name][0])
    with Image.open(tmp_path / name) as image:
        expected_HWC = np.array(image.convert("RGB"))
    np.testing.assert_array_equal(_decode(tmp_path / name), expected_HWC)


CUT_FILES = [(name, n) for name in ("rgb.jpg", "progressive.JPEG") for n in (1, 2, 10, 300)]


@pytest.mark.parametrize(("name", "missing"), CUT_FILES)
def test_a_cut_jpeg_is_an_error_whatever_pillow_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, missing: int
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    path = tmp_path / name
    content = _files()[name][0]
    path.write_bytes(content[: max(40, len(content) - missing)])
    with pytest.raises(ImageReadError, match=re.escape(f"cannot read image {path}: ")):
        _decode(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"hello, this is text", "no image format that is known here", id="text"),
        pytest.param(b"", "the file is empty", id="empty"),
        pytest.param(b"\xff\xd8\xff\xe0 nonsense", "", id="jpeg-start-only"),
        pytest.param(b"BM" + b"\0" * 60, "", id="broken-bmp"),
        pytest.param(b"P6 9999999 9999999 255\n", "", id="huge-ppm"),
        pytest.param(None, "No such file or directory", id="missing"),
    ],
)
def test_what_is_no_image_is_an_error_that_names_file_and_cure(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "photo.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageReadError, match=re.escape(f"{path}: {reason}")) as caught:
        _decode(path)
    assert str(caught.value).endswith("; replace or remove this file")
    assert "\n" not in str(caught.value)
    assert ".cpp" not in str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> FolderData:
    rng = np.random.default_rng(1)
    for name, (height, width) in {"a/0": (40, 60), "a/1": (24, 24), "b/2": (90, 30)}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return FolderData(tmp_path)


@pytest.mark.parametrize("threads", [1, 3])
def test_images_are_squashed_whole_as_torchvision_does(folder: FolderData, threads: int) -> None:
    images_BCHW = read_resized(folder, [2, 0, 2], 24, threads)
    assert images_BCHW.shape == (3, 3, 24, 24)
    assert images_BCHW.dtype == torch.uint8
    for image_CHW, row in zip(images_BCHW, [2, 0, 2], strict=True):
        whole_CHW = torch.from_numpy(folder.read(row)).permute(2, 0, 1)
        expected_CHW = functional.resize(whole_CHW, [24, 24], antialias=True)
        assert torch.equal(image_CHW, expected_CHW)


def test_an_image_of_that_size_is_not_changed(folder: FolderData) -> None:
    images_BCHW = read_resized(folder, [1], 24)
    np.testing.assert_array_equal(images_BCHW[0].permute(1, 2, 0).numpy(), folder.read(1))


def test_arrays_and_files_are_resized_alike(tmp_path: Path, small_shapes: ArrayData) -> None:
    for row in range(6):
        place = tmp_path / f"class{row % 2}" / f"{row}.png"
        place.parent.mkdir(exist_ok=True)
        Image.fromarray(small_shapes.images[row]).save(place)
    files = FolderData(tmp_path)
    arrays = files.load()
    for size in (32, 20, 50):
        assert torch.equal(
            read_resized(arrays, range(6), size), read_resized(files, range(6), size, 2)
        )


@pytest.mark.parametrize("threads", [1, 2])
def test_unreadable_images_are_raised_or_skipped(folder: FolderData, threads: int) -> None:
    Path(folder.describe(1)).write_bytes(b"no image")
    with pytest.raises(ImageReadError, match=re.escape(folder.describe(1))):
        read_resized(folder, [0, 1, 2], 8, threads)
    images_BCHW, unreadable_B = read_resized(folder, [0, 1, 2], 8, threads, on_error="skip")
    assert unreadable_B.tolist() == [False, True, False]
    assert not images_BCHW[1].any()
    assert torch.equal(images_BCHW[2], read_resized(folder, [2], 8)[0])


def test_no_rows_give_an_empty_batch(folder: FolderData) -> None:
    assert read_resized(folder, [], 8).shape == (0, 3, 8, 8)


def test_bad_options_are_rejected(folder: FolderData) -> None:
    with pytest.raises(OptionError, match="got size=0 threads=1"):
        read_resized(folder, [0], 0)
    with pytest.raises(OptionError, match="got size=8 threads=0"):
        read_resized(folder, [0], 8, 0)
    with pytest.raises(OptionError, match="'raise' or 'skip', got 'ignore'"):
        read_resized(folder, [0], 8, on_error="ignore")  # type: ignore[call-overload]
    with pytest.raises(DataError, match=re.escape("must be in [0, 3), got 3 to 3")):
        read_resized(folder, [3], 8)
