"""One rank of a training: python -m tests.unit.train.rank BASE DATA REPLAY OUT CONFIG."""

import json
import os
import sys
from pathlib import Path

from pipelines.engine.stage import Artifact
from pipelines.train.config import TrainConfig
from pipelines.train.run import run

if __name__ == "__main__":
    base, data, old, out = map(Path, sys.argv[1:5])
    inputs = {
        "base": Artifact("base", "model", base, "0"),
        "data": Artifact("data", "dataset", data, "0"),
        "old": Artifact("old", "dataset", old, "0"),
    }
    result = run(TrainConfig.model_validate(json.loads(sys.argv[5])), inputs, out)
    sys.stdout.write(json.dumps(result | {"world": os.environ.get("WORLD_SIZE", "1")}) + "\n")
