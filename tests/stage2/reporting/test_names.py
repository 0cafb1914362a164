"""Names of experiments, in short and over folds and label sets."""

import pytest

from Stage2.reporting.names import over_label_sets, short_name


@pytest.mark.parametrize(
    ("name", "short", "over"),
    [
        (
            "mri_ct_s1_l0/02/mySSL_test_vfold*_CHAOST2_Superpix_sets_0_1shot",
            "mri_ct_s1_l0/02/test",
            "mri_ct_s1_l*/02/test",
        ),
        ("mySSL_ft_test_vfold*_heart_sets_1_3shot", "ft_test (3 shots)", "ft_test (3 shots)"),
        (
            "mySSL_train_CHAOST2_Superpix_lbgroup1_scale_MIDDLE_vfold*_CHAOST2_Superpix_sets_1_1shot",
            "train_CHAOST2_Superpix_lbgroup1_scale_MIDDLE",
            "train_CHAOST2_Superpix_lbgroup*_scale_MIDDLE",
        ),
        ("something_else", "something_else", "something_else"),
    ],
)
def test_names(name: str, short: str, over: str):
    assert (short_name(name), over_label_sets(short_name(name))) == (short, over)
