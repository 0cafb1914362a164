"""A mask as DICOM-SEG, beside the series that it belongs to."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import SimpleITK as sitk
from highdicom.sr.coding import CodedConcept
from pydicom.uid import ExplicitVRLittleEndian

from Stage2.drawing.masks import rgb
from Stage2.io.dicom import Series, read_series_of
from Stage2.io.grid import on_grid_of
from Stage2.io.volumes import read_volume
from Stage2.serving.drawings import organs_in
from Stage2.serving.labels import Label, with_values

STRUCTURE = CodedConcept("123037004", "SCT", "Anatomical Structure")
ORGAN = CodedConcept("113343008", "SCT", "Organ")
# SNOMED CT codes of names that people give; others are organs without a code of their own.
KNOWN = {
    "liver": ("10200004", "Liver"), "spleen": ("78961009", "Spleen"), "right kidney": ("9846003", "Right kidney"),
    "left kidney": ("18639004", "Left kidney"), "pancreas": ("15776009", "Pancreas"),
    "gallbladder": ("28231008", "Gallbladder"), "stomach": ("69695003", "Stomach"), "aorta": ("15825003", "Aorta"),
}  # fmt: skip
MAKER = "DenseMP"


def dicom_segmentation(series: Path, mask: Path, labels: Sequence[Label], version: str, automatic: bool) -> bytes:
    """The file of a segmentation.

    Args:
        series: folder of the scan.
        mask: label map on its grid.
        labels: their names and colours; other values are named by their number.
        version: of this program.
        automatic: a network made it; else a person.

    Raises:
        FileNotFoundError, ValueError: the series or the mask cannot be read, or the mask is empty.
    """
    scan = read_series_of(series)
    image = on_grid_of(read_volume(mask), scan.image, mask, series)
    voxels = sitk.GetArrayViewFromImage(image)
    organs = organs_in(voxels)
    shown = [own for own in with_values(labels, organs) if own.value in organs]
    if not shown:
        raise ValueError(f"the mask of {series.name} is empty; draw or segment an organ first.")
    try:
        segmentation = _segmentation(scan, voxels, shown, version, automatic)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{series.name} lacks what a DICOM segmentation refers to ({error}); take its mask as .nii.gz."
        ) from None
    with tempfile.TemporaryFile() as file:
        segmentation.save_as(file)
        file.seek(0)
        return file.read()


def _segmentation(
    scan: Series, voxels: np.ndarray, shown: Sequence[Label], version: str, automatic: bool
) -> highdicom.seg.Segmentation:
    sources = [pydicom.dcmread(one.path) for one in scan.slices]
    # Frames of one segment after the other: (slices, rows, columns, segments).
    frames = np.stack([voxels == own.value for own in shown], axis=-1).astype(np.uint8)
    kind = highdicom.seg.SegmentAlgorithmTypeValues
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=MAKER, version=version, family=CodedConcept("123110", "DCM", "Artificial Intelligence")
    )
    described = [
        highdicom.seg.SegmentDescription(
            segment_number=place, segment_label=own.name, segmented_property_category=STRUCTURE,
            segmented_property_type=_code_of(own.name),
            algorithm_type=kind.AUTOMATIC if automatic else kind.MANUAL,
            algorithm_identification=algorithm if automatic else None,
            display_color=highdicom.color.CIELabColor.from_rgb(*rgb(own.colour)),
        )
        for place, own in enumerate(shown, start=1)
    ]  # fmt: skip
    return highdicom.seg.Segmentation(
        source_images=sources, pixel_array=frames, segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=described, series_instance_uid=highdicom.UID(), series_number=900,
        sop_instance_uid=highdicom.UID(), instance_number=1, manufacturer=MAKER, manufacturer_model_name=MAKER,
        software_versions=version, device_serial_number="0", transfer_syntax_uid=ExplicitVRLittleEndian,
        content_label="SEGMENTATION", series_description=f"{MAKER} masks",
    )  # fmt: skip


def _code_of(name: str) -> CodedConcept:
    known = KNOWN.get(name.lower().replace("_", " "))
    return ORGAN if known is None else CodedConcept(known[0], "SCT", known[1])
