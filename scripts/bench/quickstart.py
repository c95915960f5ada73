"""What running a recipe costs over the work of its stages, and what running it again costs."""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def run(recipe: str, home: Path) -> tuple[float, float, int]:
    """Wall seconds, CPU-seconds and exit code of one `burnish run`."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "pipelines", "run", recipe]
    result = subprocess.run(command, env=os.environ | {"BURNISH_HOME": str(home)}, stdout=sys.stderr, check=False)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, result.returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", nargs="?", default="recipes/quickstart.yaml")
    recipe = parser.parse_args().recipe
    with tempfile.TemporaryDirectory() as home:
        first, cpu, code = run(recipe, Path(home))
        records = [json.loads(path.read_text()) for path in Path(home).glob("artifacts/*/artifact.json")]
        again, again_cpu, _ = run(recipe, Path(home))
    work = sum(record["seconds"] for record in records)
    print("| | wall seconds | CPU-seconds |\n| --- | --- | --- |")
    print(f"| first run, {len(records)} stages, exit code {code} | {first:.1f} | {cpu:.1f} |")
    print(f"| of which the stages' own work | {work:.1f} | {sum(item['cpu_seconds'] for item in records):.1f} |")
    print(f"| of which orchestration, imports included | {first - work:.1f} | |")
    print(f"| second run | {again:.2f} | {again_cpu:.2f} |")
    for record in sorted(records, key=lambda item: -item["seconds"]):
        print(f"| {record['name']} | {record['seconds']:.1f} | {record['cpu_seconds']:.1f} |")


if __name__ == "__main__":
    main()
