"""`evaluation.parquet` says of each row what metrics.json says of all."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from features.core.files import read_json
from features.core.sums import write_sums
from features.errors import IntegrityError, MissingArtifactError
from stage2_ensemble.evaluate import run as evaluate
from stage2_ensemble.findings.tables import EVALUATION, SUMS, read_evaluation
from stage2_ensemble.fitted.bundle import read_ensemble


@pytest.fixture
def table(done):
    return read_evaluation(evaluate.OUT / EVALUATION)


def test_it_has_every_row_of_val_in_order(done, table):
    assert table["img_name"].tolist() == done.val.table["img_name"].tolist()
    assert (table["label"] == done.val.labels).all()
    assert table["row_id"].tolist() == list(range(len(done.val)))


def test_scores_give_the_aucs_of_metrics_json(table):
    val = read_json(evaluate.OUT / "metrics.json", "evaluate")["val"]
    rows = table[table["headline"]]
    for name, values in (val["members"] | {"mean": val["mean"], "stack": val["stack"]}).items():
        found = roc_auc_score(rows["label"], rows[f"score:{name}"])
        assert found == pytest.approx(values["auc"], abs=1e-12)
    answers = (rows["decision"] == "fake").astype(int)
    assert (answers == rows["label"]).mean() == pytest.approx(val["stack"]["accuracy"])


def test_probability_and_decision_are_those_of_what_ships(table):
    ensemble = read_ensemble(evaluate.STACKERS)
    shipped = table[f"score:{ensemble.shipped}"]
    assert np.array_equal(table["score:stack"], shipped)
    assert np.allclose(table["probability"], expit(shipped))
    threshold = ensemble.rules.find_threshold(ensemble.shipped)
    assert ((table["decision"] == "fake") == (shipped >= threshold)).all()


def test_missing_and_damaged_files_name_the_stage(tmp_path):
    with pytest.raises(MissingArtifactError, match="evaluate"):
        read_evaluation(tmp_path / EVALUATION)
    (tmp_path / EVALUATION).write_bytes(b"PAR1 and more")
    write_sums(tmp_path / SUMS, [tmp_path / EVALUATION])
    (tmp_path / EVALUATION).write_bytes(b"PAR1 and no more")
    with pytest.raises(IntegrityError, match="evaluate"):
        read_evaluation(tmp_path / EVALUATION)
