"""Which precision a device gets when nobody says."""

from pathlib import Path

import pytest

from pipeline.errors import NetworkError
from pipeline.saliency import precision
from pipeline.saliency.precision import PrecisionChoice, choose_precision


@pytest.fixture
def cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(precision, "_CPUINFO", path)
    return path


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags : fpu avx512f avx512_bf16", ("bf16", "auto: the CPU has avx512_bf16")),
        ("flags : avx512_bf16 amx_bf16", ("bf16", "auto: the CPU has amx_bf16")),
        ("Features : asimd bf16 i8mm", ("bf16", "auto: the CPU has bf16")),
        ("flags : fpu avx512f", ("fp32", "auto: the CPU has no bfloat16 instructions")),
    ],
)
def test_auto_asks_the_processor(flags: str, expected: tuple[str, str], cpuinfo: Path) -> None:
    cpuinfo.write_text(flags)
    assert choose_precision("auto", "cpu") == PrecisionChoice(*expected)


def test_unknown_processor_gets_float32(cpuinfo: Path) -> None:
    assert not cpuinfo.exists()
    assert choose_precision("auto", "cpu").name == "fp32"


@pytest.mark.parametrize("asked", ["fp32", "bf16"])
def test_what_is_asked_for_is_taken(asked: str, cpuinfo: Path) -> None:
    cpuinfo.write_text("")
    assert choose_precision(asked, "cpu") == PrecisionChoice(asked, "as asked")


def test_other_words_are_refused() -> None:
    with pytest.raises(NetworkError, match="precision must be one of auto, fp32, bf16, got 'f16'"):
        choose_precision("f16", "cpu")
