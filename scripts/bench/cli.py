"""What the light verbs cost, beside the tools they replace at the same moment: CPU-seconds and wall, best of N."""

import argparse
import resource
import subprocess
import sys
import time

BURNISH = [sys.executable, "-m", "pipelines"]
COMMANDS = {
    "burnish --help": [*BURNISH, "--help"],
    "burnish validate": [*BURNISH, "validate", "recipes/quickstart.yaml"],
    "burnish plan": [*BURNISH, "plan", "recipes/quickstart.yaml"],
    "mergekit-yaml --help": [sys.executable, "-m", "mergekit.scripts.run_yaml", "--help"],
    "import trl's SFTTrainer": [sys.executable, "-c", "from trl import SFTTrainer"],
    "lm_eval --help": [sys.executable, "-m", "lm_eval", "--help"],
}


def measure(command: list[str], repeats: int) -> tuple[float, float]:
    """Least CPU-seconds and least wall seconds of the command."""
    cpu, wall = [], []
    for _ in range(repeats):
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wall.append(time.perf_counter() - started)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(cpu), min(wall)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    print("| command | CPU-seconds | wall seconds |\n| --- | --- | --- |")
    for name, command in COMMANDS.items():
        cpu, wall = measure(command, repeats)
        print(f"| `{name}` | {cpu:.2f} | {wall:.2f} |")


if __name__ == "__main__":
    main()
