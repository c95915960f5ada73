"""SQL answers executed: other ways to write the right query are right, near misses are not, nothing can be touched."""

import json
import random
import re
import sqlite3
from pathlib import Path

import pytest

from tests.unit.evals import beside

sql = beside.load("sql")
SHOP = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, city TEXT, vip TEXT CHECK (vip IN ('Y', 'N')));
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers (id), total REAL, placed DATE);
CREATE TABLE items (order_id INTEGER, product TEXT, amount INTEGER);
"""
ADVISING = (beside.TASKS / "advising.sql").read_text()
DATA = Path(__file__).parents[4] / "shared" / "data" / "text2sql" / "advising_test.jsonl"

EQUIVALENT = [
    ("SELECT name FROM customers WHERE city = 'Oslo'", 'select c.name from customers c where "Oslo" = c.city;'),
    ("SELECT name FROM customers WHERE city = 'Oslo'", "```sql\nSELECT name FROM customers WHERE city='Oslo'\n```"),
    (
        "SELECT c.name, o.total FROM customers AS c, orders AS o WHERE c.id = o.customer_id AND c.city = 'Oslo'",
        "SELECT name, total FROM orders JOIN customers ON customer_id = customers.id WHERE city IN ('Oslo')",
    ),
    (
        "SELECT name FROM customers WHERE id IN (SELECT customer_id FROM orders WHERE total > 100)",
        "SELECT name FROM customers c WHERE EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.id AND total > 100)",
    ),
    ("SELECT DISTINCT city FROM customers", "SELECT city FROM customers GROUP BY city"),
    ("SELECT COUNT(*) FROM items WHERE amount > 3", "SELECT SUM(amount > 3) FROM items"),
    (
        "SELECT product FROM items WHERE amount BETWEEN 5 AND 9",
        "SELECT product FROM items WHERE amount > 4 AND amount < 10",
    ),
    ("SELECT name FROM customers WHERE vip = 'Y'", "SELECT name FROM customers WHERE NOT vip = 'N'"),
    (
        "SELECT id FROM orders ORDER BY id DESC LIMIT 3",
        "SELECT id FROM orders o WHERE (SELECT COUNT(*) FROM orders p WHERE p.id > o.id) < 3 ORDER BY 0 - id",
    ),
    ("SELECT AVG(total) FROM orders", "SELECT SUM(total) * 1.0 / COUNT(*) FROM orders"),
]
NEAR_MISSES = [
    ("SELECT name FROM customers WHERE city = 'Oslo'", "SELECT city FROM customers WHERE city = 'Oslo'"),
    ("SELECT name FROM customers WHERE city = 'Oslo'", "SELECT name FROM customers WHERE city = 'Rome'"),
    ("SELECT name FROM customers WHERE city = 'Oslo'", "SELECT name FROM customers WHERE city LIKE '%Oslo%'"),
    ("SELECT name FROM customers WHERE city = 'Oslo'", "SELECT name FROM customers"),
    ("SELECT name FROM customers WHERE city = 'Oslo'", "SELECT DISTINCT name FROM customers WHERE city = 'Oslo'"),
    ("SELECT DISTINCT city FROM customers", "SELECT city FROM customers"),
    ("SELECT name, city FROM customers", "SELECT city, name FROM customers"),
    ("SELECT COUNT(*) FROM items WHERE amount > 3", "SELECT COUNT(*) FROM items WHERE amount >= 3"),
    ("SELECT COUNT(*) FROM items", "SELECT COUNT(DISTINCT product) FROM items"),
    (
        "SELECT product FROM items WHERE amount BETWEEN 5 AND 9",
        "SELECT product FROM items WHERE amount BETWEEN 5 AND 8",
    ),
    ("SELECT name FROM customers ORDER BY id", "SELECT name FROM customers ORDER BY id DESC"),
    ("SELECT name FROM customers ORDER BY id", "SELECT name FROM customers ORDER BY name"),
    ("SELECT MIN(total) FROM orders", "SELECT MAX(total) FROM orders"),
    (
        "SELECT name FROM customers WHERE id NOT IN (SELECT customer_id FROM orders)",
        "SELECT name FROM customers WHERE id IN (SELECT customer_id FROM orders)",
    ),
    (
        "SELECT c.name FROM customers c JOIN orders o ON c.id = o.customer_id WHERE o.total > 100 AND c.city = 'Oslo'",
        "SELECT c.name FROM customers c JOIN orders o ON c.id = o.id WHERE o.total > 100 AND c.city = 'Oslo'",
    ),
    (
        "SELECT c.name FROM customers c JOIN orders o ON c.id = o.customer_id WHERE o.total > 100 AND c.city = 'Oslo'",
        "SELECT c.name FROM customers c JOIN orders o ON c.id = o.customer_id WHERE o.total > 100 OR c.city = 'Oslo'",
    ),
    ("SELECT COUNT(*) > 0 FROM orders WHERE total = 5", "SELECT 1"),
    ("SELECT name FROM customers WHERE city = 'Oslo'", "SELECT name FROM customers WHERE city = 'Oslo' AND vip = 'Y'"),
    ("SELECT name FROM customers", ""),
    ("SELECT name FROM customers", "SELECT nothing FROM nowhere"),
    ("SELECT name FROM customers", "SELECT name FROM customers; SELECT name FROM customers"),
    ("SELECT name FROM customers", "The query is SELECT name FROM customers"),
]
FORBIDDEN = [
    "DELETE FROM customers",
    "INSERT INTO customers (name) VALUES ('x') RETURNING name",
    "UPDATE customers SET name = 'x'",
    "DROP TABLE customers",
    "CREATE TABLE stolen AS SELECT * FROM customers",
    "ATTACH '{file}' AS other",
    "VACUUM INTO '{file}'",
    "PRAGMA table_info('customers')",
    "SELECT name FROM pragma_table_info('customers')",
    "SELECT load_extension('{file}')",
    "SELECT random() FROM customers",
    "SELECT CURRENT_TIMESTAMP",
    "SELECT date('now')",
    "SELECT datetime()",
    "BEGIN",
]


def judge(expected: str, predicted: str, schema: str = SHOP) -> dict[str, float]:
    verdict: dict[str, float] = sql.judge({"schema": schema, "completion": expected}, [predicted])
    return verdict


@pytest.mark.parametrize(("expected", "predicted"), EQUIVALENT)
def test_query_written_another_way_is_right(expected, predicted):
    assert judge(expected, predicted)["executed"] == 1.0
    assert judge(expected, predicted)["undecided"] == 0.0


@pytest.mark.parametrize(("expected", "predicted"), NEAR_MISSES)
def test_near_miss_is_wrong(expected, predicted):
    assert judge(expected, predicted)["executed"] == 0.0


@pytest.mark.parametrize("predicted", FORBIDDEN)
def test_query_that_does_more_than_read_tables_is_wrong_and_touches_nothing(predicted, tmp_path):
    file = tmp_path / "other.db"
    tables = sql._tables(SHOP)
    database = sql._connect(SHOP)
    assert sql._select(database, predicted.format(file=file), tables) is None
    assert not file.exists()
    assert database.execute("SELECT COUNT(*) FROM sqlite_master WHERE type = 'table'").fetchone() == (3,)
    assert judge("SELECT name FROM customers", predicted.format(file=file))["executed"] == 0.0


def test_query_that_never_ends_is_stopped_and_wrong():
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"
    assert judge("SELECT name FROM customers", endless)["executed"] == 0.0
    wide = "SELECT a.id FROM items a, items b, items c, items d, items e, items f, items g"
    assert judge("SELECT name FROM customers", wide)["executed"] == 0.0
    assert judge("SELECT name FROM customers", "SELECT zeroblob(500000000) FROM customers")["executed"] == 0.0


@pytest.mark.parametrize(
    "expected",
    [
        "SELECT nothing FROM customers",  # fails
        "SELECT name FROM customers WHERE 1 = 2",  # selects nothing
        "SELECT id FROM customers LIMIT 1",  # hangs on the order of rows
    ],
)
def test_document_that_no_database_can_tell_is_marked_and_judged_by_its_text(expected):
    assert judge(expected, expected.lower()) == {"executed": 1.0, "exact_match": 1.0, "undecided": 1.0}
    assert judge(expected, "SELECT name FROM customers WHERE 2 = 3")["executed"] == 0.0


def test_undecided_does_not_hang_on_the_prediction():
    for predicted in ("", "SELECT name FROM customers WHERE 1 = 2", "DROP TABLE customers"):
        assert judge("SELECT name FROM customers WHERE 1 = 2", predicted)["undecided"] == 1.0


def test_schema_without_types_and_another_dialects_quotes_work():
    schema = "CREATE TABLE T(a, b); CREATE TABLE U(b, c)"
    expected = 'SELECT T.a FROM T, U WHERE T.b = U.b AND U.c = "it\'s x" AND T.a > 40'
    assert (
        judge(expected, "SELECT a FROM U JOIN T USING (b) WHERE c = 'it''s x' AND a >= 41", schema)["executed"] == 1.0
    )
    assert (
        judge(expected, "SELECT a FROM U JOIN T USING (b) WHERE c = 'it''s y' AND a >= 41", schema)["executed"] == 0.0
    )
    assert judge(expected, expected, schema)["undecided"] == 0.0


def test_verdicts_repeat():
    (expected, predicted), drawn = NEAR_MISSES[7], []
    for _ in range(2):
        database, tables = sql._connect(SHOP), sql._tables(SHOP)
        sql._fill(database, "items", tables["items"], sql._constants(expected, tables), "seed", 0)
        drawn.append(database.execute("SELECT * FROM items").fetchall())
    assert drawn[0] == drawn[1] and len(drawn[0]) == sql.ROWS
    assert judge(expected, predicted) == judge(expected, predicted)


def test_constants_go_to_the_columns_that_they_are_compared_with():
    tables = sql._tables(SHOP)
    query = (
        'SELECT c.name FROM customers c JOIN orders AS o ON c.id = o.customer_id WHERE c.city LIKE "%Os%" AND o.total '
        "BETWEEN 7 AND 9 AND o.customer_id != 44 ORDER BY o.total LIMIT 3"
    )
    found = {place: constants for place, constants in sql._constants(query, tables).items() if constants}
    assert found == {
        ("customers", "city"): ["%Os%"],
        ("orders", "total"): ["7", "9"],
        ("orders", "customer_id"): ["44"],
        ("customers", "id"): ["44"],
    }


def test_advising_schema_has_what_its_queries_ask_for():
    if not DATA.is_file():
        pytest.skip("the advising data is not on this machine")
    database = sqlite3.connect(":memory:")
    database.executescript(ADVISING)
    queries = {json.loads(line)["sql"] for line in DATA.read_text().splitlines()}
    failed = []
    for query in queries:
        try:
            database.execute(query)
        except sqlite3.OperationalError:
            failed.append(query)
    assert all("COUNT( DISTINCT" in query for query in failed) and len(failed) < len(queries) / 50


def test_real_queries_are_told_from_themselves_with_another_constant():
    if not DATA.is_file():
        pytest.skip("the advising data is not on this machine")
    queries = sorted({json.loads(line)["sql"] for line in DATA.read_text().splitlines()})
    told, decided = 0, 0
    for query in random.Random(0).sample(queries, 40):
        changed = re.sub(r'"(\w+)"', lambda match: f'"{match[1]}X"', query, count=1)
        if changed != query and not judge(query, query, ADVISING)["undecided"]:
            decided += 1
            told += judge(query, changed, ADVISING)["executed"] == 0.0
    assert decided >= 30 and told == decided
