"""`BatchScorer` in Spark's `mapInPandas`, on a local Spark."""

from collections.abc import Iterator
from typing import Any

import pytest

from demur import BatchScorer

sql = pytest.importorskip("pyspark.sql", reason="needs pyspark")
pytest.importorskip("pandas", reason="needs pandas")
# Spark and what it starts warn of things that are none of demur's business.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

REPLIES = ["I'm sorry, but I can't help with that.", "Paris.", "", None]
ADDED = "demur_score double, demur_refusal boolean, demur_tokens int, demur_elided int, demur_error string"


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        try:
            session = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
        except Exception as error:  # the class differs with what is missing: Java, or a port
            pytest.skip(f"Spark doesn't start here: {error}")
        yield session
        session.stop()


def test_map_in_pandas_adds_the_verdicts_columns(spark: Any) -> None:
    rows = [(i, f"Question {i}?", REPLIES[i % 4]) for i in range(24)]
    frame = spark.createDataFrame(rows, "id int, prompt string, response string").repartition(3)
    scorer = BatchScorer(workers=1)
    scored = frame.mapInPandas(scorer.each, f"id int, prompt string, response string, {ADDED}")
    found = sorted((row.asDict() for row in scored.collect()), key=lambda row: row["id"])
    expected = scorer({"prompt": [row[1] for row in rows], "response": [row[2] for row in rows]})
    assert [row["id"] for row in found] == list(range(24))
    for name, values in expected.items():
        assert [row[name] for row in found] == values, name
