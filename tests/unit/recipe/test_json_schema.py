from pipelines.recipe.json_schema import recipe_schema
from pipelines.recipe.sections import ENTRIES


def test_schema_has_every_section() -> None:
    schema = recipe_schema()
    assert {"burnish", "base", "evaluate", "gates", "report", *ENTRIES} <= schema["properties"].keys()
    assert schema["required"] == ["burnish"]
    assert schema["additionalProperties"] is False


def test_schema_takes_a_source_where_a_name_is_wanted() -> None:
    defs = recipe_schema()["$defs"]
    on = defs["TrainConfig"]["properties"]["on"]
    assert on["description"] == "Dataset that is trained on."
    assert {"$ref": "#/$defs/PrepareConfig"} in on["anyOf"] and {"$ref": "#/$defs/Source"} in on["anyOf"]
    assert {"$ref": "#/$defs/BaseConfig"} in defs["TrainConfig"]["properties"]["base"]["anyOf"]


def test_schema_references_all_resolve() -> None:
    schema = recipe_schema()
    found: list[str] = []

    def walk(value: object) -> None:
        if isinstance(value, dict):
            found.extend(item for key, item in value.items() if key == "$ref")
            assert "x-sources" not in value
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(item)

    walk(schema)
    assert found
    assert {reference.removeprefix("#/$defs/") for reference in found} <= schema["$defs"].keys()


def test_schema_uses_the_recipes_own_keys() -> None:
    defs = recipe_schema()["$defs"]
    assert "from" in defs["ReplayMix"]["properties"] and "from_" not in defs["ReplayMix"]["properties"]
    assert "lambda" in defs["Ties"]["properties"]


def test_schema_lets_a_suite_be_a_file() -> None:
    suites = recipe_schema()["$defs"]["EvaluateSection"]["properties"]["suites"]["additionalProperties"]
    assert {"type": "string"} in suites["anyOf"]
