"""A model folder as one GGUF file, written by llama.cpp's converter and quantised by llama.cpp's own kernels.

`python gguf_convert.py REQUEST ANSWER`, in the environment `gguf`. REQUEST is a JSON file `{"folder", "out", "name",
"pre", "eot", "add_bos", "file_type", "types", "threads"}`: `pre` names the pre-tokenizer for when the converter does
not know it, `types` maps tensors of the file to their types; the others are what the converter makes of them at F16.
With `out` null nothing is written. ANSWER is `{"architecture", "tensors": {name: shape}, "kept": [name], "model":
{count: n}}`, of which `kept` are the tensors that stay in float32, or `{"unknown", "said"}`. Printed is how far it is.
"""

import ctypes
import json
import sys
import traceback
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import gguf
import numpy as np
import numpy.typing as npt
import torch
import xllamacpp.xllamacpp  # type: ignore[import-not-found]
from conversion import ModelBase, ModelType, get_model_architecture, get_model_class  # type: ignore[import-not-found]

_FLOATS_AT_ONCE = 1 << 24
_COUNTS = ("expert_count", "block_count", "attention.head_count", "attention.head_count_kv")


class Unknown(Exception):
    """The converter does not know something that it needs."""


def main(request: Path, answer: Path) -> None:
    """Convert, or say why that cannot be."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    try:
        told = convert(asked)
    except Unknown as error:
        told = {"unknown": error.args[0], "said": error.args[1]}
    except Exception as error:  # whatever the converter raises for a folder is what is to be told of it
        traceback.print_exc()
        told = {"unknown": "converter", "said": " ".join(f"{type(error).__name__}: {error}".split())}
    answer.write_text(json.dumps(told), encoding="utf-8")


@torch.inference_mode()
def convert(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The file written, where one is asked for, and what is in it."""
    model = opened(asked)
    model.prepare_tensors()
    tensors: dict[str, Any] = model.gguf_writer.tensors[0]
    kept = [name for name, info in tensors.items() if info.dtype == gguf.GGMLQuantizationType.F32]
    shapes = {name: [int(size) for size in info.shape] for name, info in tensors.items()}
    for name, kind in asked["types"].items():
        tensors[name] = quantised(tensors[name], gguf.GGMLQuantizationType[kind], asked["threads"])
    model.ftype = gguf.LlamaFileType[asked["file_type"]]
    model.prepare_metadata(vocab_only=False)
    told = {"architecture": model.gguf_writer.arch, "tensors": shapes, "kept": kept, "model": counts(model.gguf_writer)}
    if asked["out"] is not None:
        write(model.gguf_writer, asked)
    return told


def opened(asked: Mapping[str, Any]) -> Any:
    """The converter for the folder's architecture, told of the types and names that it cannot know."""
    folder = Path(asked["folder"])
    architecture = get_model_architecture(ModelBase.load_hparams(folder, False), ModelType.TEXT)
    try:
        kind = get_model_class(architecture, mmproj=False)
    except NotImplementedError as error:
        raise Unknown("architecture", architecture) from error
    out = Path(asked["out"] or folder / "unwritten.gguf")
    model = kind(folder, gguf.LlamaFileType.MOSTLY_F16, out, model_name=asked["name"])
    forced, known = model.tensor_force_quant, model.get_vocab_base_pre

    def force(name: str, new_name: str, bid: int | None, n_dims: int) -> Any:
        exact = new_name in asked["types"]
        return gguf.GGMLQuantizationType.F32 if exact else forced(name, new_name, bid, n_dims)

    def pre(tokenizer: Any) -> str:
        try:
            return str(known(tokenizer))
        except NotImplementedError as error:
            if asked["pre"] is None:
                raise Unknown("pre-tokenizer", str(error)) from error
            return str(asked["pre"])

    model.tensor_force_quant, model.get_vocab_base_pre = force, pre
    return model


def counts(writer: Any) -> dict[str, int]:
    """Experts, layers and heads as the file states them, 0 where it does not; of a list by layer the largest."""
    values = {key: writer.kv_data[0].get(f"{writer.arch}.{key}") for key in _COUNTS}
    found = {key: 0 if value is None else value.value for key, value in values.items()}
    return {key: max(value) if isinstance(value, list) else int(value) for key, value in found.items()}


def write(writer: Any, asked: Mapping[str, Any]) -> None:
    """The file, tensor by tensor: one is in memory at a time."""
    if asked["eot"] is not None:
        writer.add_eot_token_id(asked["eot"])
    if asked["add_bos"] is not None:
        writer.add_add_bos_token(asked["add_bos"])
    writer.write_header_to_file(path=Path(asked["out"]))
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file(progress=False)
    writer.close()


class Quantised:
    """A tensor that is quantised while it is written, a few rows after another."""

    def __init__(self, values: Any, kind: gguf.GGMLQuantizationType, nbytes: int, threads: int) -> None:
        self.values, self.kind, self.nbytes, self.threads = values, kind, nbytes, threads

    def tofile(self, file: BinaryIO) -> None:
        values = gguf.LazyNumpyTensor.to_eager(self.values)
        rows = values.reshape(-1, values.shape[-1])
        step = max(_FLOATS_AT_ONCE // rows.shape[1], 1)
        for start in range(0, len(rows), step):
            part = np.ascontiguousarray(rows[start : start + step], dtype=np.float32)
            file.write(in_blocks(part, self.kind, self.threads).data)


def quantised(info: Any, kind: gguf.GGMLQuantizationType, threads: int) -> Any:
    """What the writer holds of a tensor, at another type."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    nbytes = int(np.prod(info.shape)) // block * size
    return type(info)(info.shape, kind, nbytes, Quantised(info.tensor, kind, nbytes, threads))


def in_blocks(rows: npt.NDArray[np.float32], kind: gguf.GGMLQuantizationType, threads: int) -> npt.NDArray[np.uint8]:
    """Rows [n, width] of floats as bytes [n, bytes a row], by the kernels of ggml."""
    if kind == gguf.GGMLQuantizationType.F16:
        return require_finite(rows.astype(np.float16), kind).view(np.uint8)
    require_finite(rows, kind)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    out = np.empty((len(rows), rows.shape[1] // block * size), np.uint8)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda part: _quantise(rows[part], out[part], kind), _shares(len(rows), threads)))
    return out


def require_finite(values: npt.NDArray[Any], kind: gguf.GGMLQuantizationType) -> npt.NDArray[Any]:
    """The values themselves. Kernels would make NaN a block of zeros, and half precision has no place above 65504."""
    if not np.isfinite(values).all():
        raise Unknown("values", f"NaN, infinite or too large for {kind.name}")
    return values


def _shares(rows: int, threads: int) -> Iterator[slice]:
    step = max(-(-rows // threads), 1)
    return (slice(start, start + step) for start in range(0, rows, step))


def _quantise(rows: npt.NDArray[np.float32], out: npt.NDArray[np.uint8], kind: gguf.GGMLQuantizationType) -> None:
    written = _KERNELS.ggml_quantize_chunk(
        int(kind), rows.ctypes.data, out.ctypes.data, 0, rows.shape[0], rows.shape[1], None
    )
    if written != out.nbytes or not _KERNELS.ggml_validate_row_data(int(kind), out.ctypes.data, out.nbytes):
        raise Unknown("values", f"too large for {kind.name}")


def _kernels() -> Any:
    """xllamacpp's library holds ggml, though it offers no way to quantise."""
    library = ctypes.CDLL(xllamacpp.xllamacpp.__file__)
    count, pointer = ctypes.c_int64, ctypes.c_void_p
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, count, count, count, pointer]
    library.ggml_validate_row_data.restype = ctypes.c_bool
    library.ggml_validate_row_data.argtypes = [ctypes.c_int, pointer, ctypes.c_size_t]
    return library


_KERNELS = _kernels()

if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
