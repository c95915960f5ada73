"""What a folder of compressed-tensors says: weights unpacked, and inputs rounded where an engine would.

    python -P compressed_logits.py REQUEST ANSWER

REQUEST is a JSON file `{"folder": path, "prompts": [[id]], "out": path}`. `out` gets the logits of each prompt in
float32, as safetensors named 0, 1 and so on; ANSWER gets `{"layers": quantised modules}`, or `{"problem": text}` where
the folder cannot be loaded whole.
"""

import json
import sys
import traceback
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, CompressedTensorsConfig

_THREADS = 4
"""As in llmcompressor.py, for the same reason."""
_REPORTS = ("missing_keys", "unexpected_keys", "mismatched_keys")


def main(request: Path, answer: Path) -> None:
    """Ask; what was wrong with the folder is written down too."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    try:
        said = look(asked)
    except Exception as error:
        traceback.print_exc()
        said = {"problem": " ".join(f"{type(error).__name__}: {error}".split())}
    answer.write_text(json.dumps(said), encoding="utf-8")


@torch.inference_mode()
def look(asked: dict[str, Any]) -> dict[str, Any]:
    """Logits of every prompt, one by one, without padding."""
    torch.set_num_threads(_THREADS)
    model, report = AutoModelForCausalLM.from_pretrained(
        asked["folder"],
        dtype="auto",
        quantization_config=CompressedTensorsConfig(dequantize=True),
        output_loading_info=True,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    )
    if odd := [f"{name}: {key}" for name in _REPORTS for key in sorted(map(str, report[name]))]:
        return {"problem": odd[0]}
    rows = [model.eval()(input_ids=torch.tensor([prompt])).logits[0].float() for prompt in asked["prompts"]]
    save_file({str(at): row.contiguous() for at, row in enumerate(rows)}, asked["out"])
    return {"layers": sum(hasattr(module, "quantization_scheme") for module in model.modules())}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
