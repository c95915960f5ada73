"""A pico model that has learnt to answer in words: a random one writes bytes that are no text."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from pipelines.hf.chat import encode
from pipelines.hf.masks import choose_mask
from pipelines.hf.models import load_tokenizer
from tests.pico import CORPUS


def teach(base: Path, folder: Path, steps: int = 60) -> Path:
    """Train the pico model of `base` for about a second on answers of one to six words, and save it to `folder`."""
    words = load_tokenizer(base)
    mask = choose_mask(words)
    vocabulary = " ".join(CORPUS[:2]).split()
    generator = torch.Generator().manual_seed(0)
    rows = []
    for number in range(200):
        picked = torch.randint(len(vocabulary), (1 + number % 6,), generator=generator).tolist()
        answer = " ".join(vocabulary[at] for at in picked)
        turns = [{"role": "user", "content": vocabulary[number % len(vocabulary)]}]
        rows.append(encode(words, [*turns, {"role": "assistant", "content": answer}], mask))
    model = AutoModelForCausalLM.from_pretrained(base)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(steps):
        batch = rows[step * 8 % 192 :][:8]
        longest = max(len(row.input_ids) for row in batch)
        ids = torch.tensor([row.input_ids + [2] * (longest - len(row.input_ids)) for row in batch])
        labels = torch.tensor([row.labels + [-100] * (longest - len(row.labels)) for row in batch])
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
