"""Prompts that do not fit: lm-eval cuts them on the left with a warning only; here they are counted."""

from typing import Any

from lm_eval.models.utils import normalize_gen_kwargs

from pipelines.evaluate.subject import Subject


def prompt_notes(name: str, subject: Subject, task: Any) -> list[str]:
    """How many prompts were cut, and of how many not even the question is whole."""
    cut = [request for request in task.instances if _tokens_over(subject, *_prompt(subject, request)) > 0]
    if not cut:
        return []
    note = f"{name}: {len(cut)} of {len(task.instances)} prompts were cut to {subject.max_length} tokens"
    lost = sum(_is_question_cut(subject, task, request) for request in cut)
    return [note + (f", {lost} of them within the question itself" if lost else "")]


def _prompt(subject: Subject, request: Any) -> tuple[str, int]:
    """The text that has to fit and the tokens that it has."""
    context, *rest = request.args
    if not rest:
        return "", subject.max_length
    if isinstance(rest[0], dict):
        return context, subject.max_length - normalize_gen_kwargs(rest[0], subject.max_gen_toks)["max_gen_toks"]
    return context + rest[0], subject.max_length + 1


def _tokens_over(subject: Subject, text: str, room: int) -> int:
    """No token is shorter than a byte, so that most prompts need no second look."""
    return 0 if len(text.encode()) <= room else subject.count(text) - room


def _is_question_cut(subject: Subject, task: Any, request: Any) -> bool:
    text, room = _prompt(subject, request)
    question = task.doc_to_text(request.doc)
    start = text.rfind(question) if isinstance(question, str) else -1
    return start >= 0 and _tokens_over(subject, text[start:], room) > 0
