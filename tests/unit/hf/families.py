"""A pico tokenizer for each family of chat templates, with the special tokens that its template writes."""

from pathlib import Path

from tokenizers.processors import TemplateProcessing
from transformers import AddedToken, PreTrainedTokenizerFast

from tests import pico

TEMPLATES = Path(__file__).parent / "templates"
TOKENS = {
    "chatml": ("<|endoftext|>", "<|im_end|>", []),
    "smollm2": ("<|im_start|>", "<|im_end|>", []),
    "llama31": ("<|begin_of_text|>", "<|eot_id|>", ["<|start_header_id|>", "<|end_header_id|>"]),
    "mistral": ("<s>", "</s>", ["[INST]", "[/INST]"]),
    "gemma": ("<bos>", "<eos>", ["<start_of_turn>", "<end_of_turn>"]),
    "qwen3": ("<|endoftext|>", "<|im_end|>", ["<think>", "</think>"]),
    "phi": ("<s>", "<|endoftext|>", ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]),
    "zephyr": ("<s>", "</s>", []),
    "vicuna": ("<s>", "</s>", []),
}


def family(name: str) -> PreTrainedTokenizerFast:
    """The pico tokenizer with the template and special tokens of a family. Like Llama's it adds BOS to plain text."""
    bos, eos, further = TOKENS[name]
    words = pico.tokenizer((TEMPLATES / f"{name}.jinja").read_text())
    swallows = name == "phi"  # Phi 3's own tokens take the white space after them into themselves
    added = [AddedToken(token, rstrip=swallows, special=True, normalized=False) for token in further]
    words.add_special_tokens({"bos_token": bos, "eos_token": eos, "additional_special_tokens": added})
    single = TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, words.bos_token_id)])
    words.backend_tokenizer.post_processor = single
    return words
