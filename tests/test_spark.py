"""The example of Spark, run as it stands on a Spark of this machine: the same verdicts as `score_table`'s."""

import os
import runpy
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import demur

sql = pytest.importorskip("pyspark.sql", reason="needs pyspark")
pytest.importorskip("pandas", reason="needs pandas")
pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow")

from pyarrow import parquet

EXAMPLE = Path(__file__).parents[1] / "runtime" / "examples" / "score_on_spark.py"
if not EXAMPLE.exists():
    pytest.skip("the examples are not in the sdist", allow_module_level=True)
if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
    pytest.skip("needs Java, which Spark runs on", allow_module_level=True)
# Spark and what it starts warn of things that are none of demur's business.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

REPLIES = ["I'm sorry, but I can't help with that.", "Paris.", "", None]
# A small job: little memory, one core, no compiler for code that runs for hours.
SETTINGS = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.memory": "1g",
    "spark.ui.enabled": "false",
}


@pytest.fixture(scope="module", autouse=True)
def _spark() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        # subtle: by default Spark starts the python3 that is found first, which may be another one than this.
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        session = sql.SparkSession.builder.master("local[1]").config(map=SETTINGS).getOrCreate()
        yield
        session.stop()


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    for part in range(3):
        numbers = range(8 * part, 8 * part + 8)
        table = {"id": numbers, "prompt": [f"Question {i}?" for i in numbers]}
        table |= {"response": [REPLIES[i % len(REPLIES)] for i in numbers]}
        parquet.write_table(pyarrow.table(table), folder / f"{part}.parquet")
    return folder


@pytest.mark.parametrize("options", [(), ("--udf",)], ids=["mapInPandas", "predict_batch_udf"])
def test_spark_gives_the_verdicts_of_one_process(
    rows: Path, options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "scored"
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), str(rows), str(out), *options])
    runpy.run_path(str(EXAMPLE), run_name="__main__")

    expected = demur.score_table(pyarrow.concat_tables(map(parquet.read_table, sorted(rows.iterdir()))))
    found = pyarrow.concat_tables(map(parquet.read_table, sorted(out.glob("*.parquet")))).sort_by("id")
    assert found.to_pylist() == expected.to_pylist()
    assert [str(field.type) for field in found.schema] == [str(field.type) for field in expected.schema]
