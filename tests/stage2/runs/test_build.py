"""What runs are built from."""

from Stage2.datasets.catalog import get_dataset
from Stage2.runs.build import ROOT, data_folder


def test_data_folder_defaults_to_the_data_sets_own():
    data_set = get_dataset("SABS")
    assert data_folder(None, data_set) == ROOT / "data" / "SABS" / "sabs_CT_normalized"
    assert str(data_folder("/scans", data_set)) == "/scans"
