"""Modelfiles, read back by the rules of Ollama's parser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.quantize.modelfile import Unwritable, modelfile, parameters

Commands = list[tuple[str, str]]


def parsed(text: str) -> Commands:
    """What Ollama's `parser.ParseFile` makes of a Modelfile.

    A value ends at the first line's end outside of its quotes; what is neither printable nor white space is dropped.
    """
    commands: Commands = []
    state, name, held = "nil", "", ""
    for character in text:
        blank = character in " \t\n\r"
        if state == "value" and blank:
            value = unquoted(held.strip())
            if value is None or character in " \t":
                held += character
                continue
            commands.append((name, value))
            state, held = "nil", ""
        elif state in ("name", "parameter") and blank:
            name, held = held.lower(), ""
            state = "parameter" if (state, name) == ("name", "parameter") else "value"
        elif not (blank and state == "nil"):
            state = "name" if state == "nil" else state
            held += character if character.isprintable() else ""
    assert state == "nil"
    return commands


def unquoted(value: str) -> str | None:
    """The value without its quotes; None where they are still open."""
    if value.startswith('"""'):
        return value[3:-3] if len(value) >= 6 and value.endswith('"""') else None
    if value.startswith('"'):
        return value[1:-1] if len(value) >= 2 and value.endswith('"') else None
    return value


def test_modelfile_read_back_says_what_was_written() -> None:
    text = modelfile(
        "m-Q4_K_M.gguf", "A\n{{ .Prompt }} \n", ["<|im_end|>", "a b"], {"num_ctx": 512}, 'Say "hi".', "MIT\n"
    )
    assert parsed(text) == [
        ("from", "./m-Q4_K_M.gguf"),
        ("template", "A\n{{ .Prompt }} \n"),
        ("system", 'Say "hi".'),
        ("stop", "<|im_end|>"),
        ("stop", "a b"),
        ("num_ctx", "512"),
        ("license", "MIT\n"),
    ]


def test_modelfile_without_system_or_licence_leaves_them_out() -> None:
    assert [name for name, _ in parsed(modelfile("m.gguf", "T", [], {}))] == ["from", "template"]


@given(st.text(alphabet='a"{} \n\t%é\u200b', max_size=30))
def test_modelfile_of_any_template_is_read_back_or_refused(template: str) -> None:
    try:
        text = modelfile("m.gguf", template, ["<s>"], {}, "System.")
    except Unwritable:
        assert '"""' in template or "\u200b" in template
        return
    assert parsed(text)[1] == ("template", template)


def test_modelfile_three_quotes_in_a_system_prompt_are_refused() -> None:
    with pytest.raises(Unwritable, match='"""'):
        modelfile("m.gguf", "T", [], {}, 'Use """docstrings""".')


@pytest.mark.parametrize(
    "system", ["zero\u200bwidth", "non\u00a0breaking", "family \U0001f469\u200d\U0001f467", "\x07"]
)
def test_modelfile_characters_that_ollama_drops_are_refused(system: str) -> None:
    with pytest.raises(Unwritable, match=r"U\+"):
        modelfile("m.gguf", "T", [], {}, system)


@pytest.mark.parametrize("stop", ['""', "a\nb", "\u200b"])
def test_modelfile_stop_tokens_that_cannot_be_written_are_refused(stop: str) -> None:
    with pytest.raises(Unwritable, match="stop token"):
        modelfile("m.gguf", "T", [stop], {})


def test_parameters_names_sampling_as_ollama_does() -> None:
    said = {
        "temperature": 0.6,
        "top_p": 0.9,
        "top_k": 20,
        "repetition_penalty": 1.1,
        "do_sample": True,
        "eos_token_id": 2,
    }
    assert parameters(said, 2048) == {
        "num_ctx": 2048, "temperature": 0.6, "top_p": 0.9, "top_k": 20, "repeat_penalty": 1.1,
    }  # fmt: skip


def test_parameters_of_a_greedy_model_is_temperature_zero() -> None:
    assert parameters({"do_sample": False, "temperature": None}, None) == {"temperature": 0}


def test_parameters_of_a_long_context_asks_for_less_memory() -> None:
    assert parameters({}, 131072) == {"num_ctx": 8192}
