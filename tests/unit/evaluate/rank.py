"""One rank of an evaluation: reads config and inputs as JSON, writes into the folder named.

python -m tests.unit.evaluate.rank CALL.json OUT
"""

import json
import os
import sys
from pathlib import Path

from pipelines.engine.stage import Artifact
from pipelines.evaluate.config import EvaluateConfig
from pipelines.evaluate.run import run

if __name__ == "__main__":
    call = json.loads(Path(sys.argv[1]).read_text())
    inputs = {name: Artifact(name, kind, Path(path), path) for name, (kind, path) in call["inputs"].items()}
    run(EvaluateConfig.model_validate(call["config"]), inputs, Path(sys.argv[2]))
    if os.environ.get("RANK", "0") == "0":
        sys.stdout.write(json.dumps({"world": os.environ.get("WORLD_SIZE", "1")}) + "\n")
