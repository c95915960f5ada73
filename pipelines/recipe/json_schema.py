"""JSON Schema of recipes, so that editors complete and check them. All words come from the config classes."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from pipelines.engine.stage import DataOrModelRef, DatasetRef, Ref
from pipelines.recipe.sections import Sections

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_MODEL, _DATASET, _SOURCE = "BaseConfig", "PrepareConfig", "Source"
_MARK = "x-sources"


def recipe_schema() -> dict[str, Any]:
    """The schema of a recipe file. Where a name is wanted a source is taken too; a suite may be the path of a file."""
    schema = Sections.model_json_schema(by_alias=True, schema_generator=_Generator)
    suites = schema["$defs"]["EvaluateSection"]["properties"]["suites"]
    suites["additionalProperties"] = {"anyOf": [{"type": "string"}, suites["additionalProperties"]]}
    return {"$schema": DIALECT, **_with_sources(schema)}


def _with_sources(schema: Any) -> Any:
    """The schema with the alternatives in place of the marks that stand for them.

    Pydantic resolves references itself while it generates, so the ones to other definitions are put in afterwards.
    """
    if isinstance(schema, list):
        return [_with_sources(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    told = {key: _with_sources(item) for key, item in schema.items() if key != _MARK}
    if _MARK not in schema:
        return told
    name = {key: told.pop(key) for key in ("type", "minLength")}
    return {**told, "anyOf": [name, *({"$ref": f"#/$defs/{source}"} for source in schema[_MARK])]}


class _Generator(GenerateJsonSchema):
    """Knows what stands behind the strings of a recipe."""

    def function_after_schema(self, schema: core_schema.AfterValidatorFunctionSchema) -> JsonSchemaValue:
        made = schema["function"]["function"]
        if isinstance(made, type) and issubclass(made, Ref):
            return {"type": "string", "minLength": 1, _MARK: _sources(made)}
        return super().function_after_schema(schema)


def _sources(ref: type[Ref]) -> list[str]:
    if issubclass(ref, DatasetRef):
        return [_DATASET, _SOURCE]
    return [_DATASET, _SOURCE, _MODEL] if issubclass(ref, DataOrModelRef) else [_MODEL]
