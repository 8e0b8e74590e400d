"""Scores conversations on Spark: python runtime/examples/score_on_spark.py ROWS OUT [--udf].

ROWS is a Parquet file or folder with the columns `prompt` and `response`, OUT a folder that is not there yet. Every
executor's Python needs demur, pandas and pyarrow. Spark runs one Python process for each of its cores, so each judges
one text at a time.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from demur import BatchScorer

ADDED = "demur_score double, demur_refusal boolean, demur_tokens int, demur_elided int, demur_error string"


def mapped(rows: DataFrame) -> DataFrame:
    """Return the rows with the verdict's columns; a model is opened for each partition."""
    return rows.mapInPandas(BatchScorer(workers=1).each, f"{rows.schema.toDDL()}, {ADDED}")


def predicted(rows: DataFrame) -> DataFrame:
    """Return the same; a model is opened for each Python process, which keeps it for all partitions that it gets."""

    def predictor() -> Callable[..., Any]:
        scorer = BatchScorer(workers=1)

        def predict(prompt: Any, response: Any) -> dict[str, Any]:
            found = scorer({"prompt": prompt, "response": response})
            found["demur_refusal"] = [None if flag is None else int(flag) for flag in found["demur_refusal"]]
            # Of objects, since numbers are missing where a row could not be scored.
            return {name: np.array(values, object) for name, values in found.items()}

        return predict

    # subtle: predict_batch_udf knows no booleans, and fails on the first batch if it gets its types as text.
    types = StructType.fromDDL(ADDED.replace("boolean", "tinyint"))
    verdict = predict_batch_udf(predictor, return_type=types, batch_size=1024)
    scored = rows.withColumn("demur", verdict("prompt", "response")).select(*rows.columns, "demur.*")
    return scored.withColumn("demur_refusal", scored.demur_refusal.cast("boolean"))


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("rows")
    parser.add_argument("out")
    parser.add_argument("--udf", action="store_true", help="with predict_batch_udf in place of mapInPandas")
    options = parser.parse_args()
    rows = SparkSession.builder.getOrCreate().read.parquet(options.rows)
    (predicted if options.udf else mapped)(rows).write.parquet(options.out)


if __name__ == "__main__":
    main()
