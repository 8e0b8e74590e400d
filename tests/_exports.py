"""What several tests of exports begin with."""

from pathlib import Path

import _checkpoints
import pytest
from conftest import CORPUS_SIZE

OWN = CORPUS_SIZE
warnings_of_others = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _checkpoints.bert(tmp_path_factory.mktemp("checkpoint"), outliers=1.0, layers=1)
