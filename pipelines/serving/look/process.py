"""The process that a folder is reloaded in.

`python -m pipelines.serving.look.process FOLDER OUT` writes `OUT/answer.json` and `OUT/logits.safetensors`.
"""

import sys
from pathlib import Path

from pipelines.engine.imports import load_attribute

if __name__ == "__main__":
    load_attribute("pipelines.serving.look.child:main")(Path(sys.argv[1]), Path(sys.argv[2]))
