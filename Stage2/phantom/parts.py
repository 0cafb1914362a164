"""The folders of the phantom demo cohort and the files that each of them holds."""

from dataclasses import asdict, dataclass

from Stage2.io.names import IMAGE, LABEL, volume_name

GENERATOR_VERSION = 1  # raise it when the same seed gives other images

FOLDERS = {
    "mr": "MR", "ct": "CT", "radiographs": "radiographs", "chaos": "CHAOS", "sabs": "SABS", "roco": "ROCO",
}  # fmt: skip
PROCESSED, RAW = ("mr", "ct", "radiographs"), ("chaos", "sabs", "roco")
# Of the raw parts that are downloaded as an archive: its name and the folder that it holds.
ARCHIVES = {"chaos": ("CHAOS_Train_Sets.zip", "Train_Sets"), "sabs": ("RawData.zip", "RawData")}
ROCO_IMAGES = "train/radiology/images"
BROKEN = (11, 47, 83)  # in every hundred ROCO images, the numbers of those that cannot be read
ROCO_OTHERS = ("train/non-radiology/images", "validation/radiology/images")  # one image there for fifty of those


def chaos_patient(index: int) -> int:
    """Number of a patient as in CHAOS's MR training set, which has gaps; beyond its 20 patients without."""
    numbers = (1, 2, 3, 5, 8, 10, 13, 15, 19, 20, 21, 22, 31, 32, 33, 34, 36, 37, 38, 39)
    return numbers[index] if index < len(numbers) else 20 + index


def synapse_number(index: int) -> int:
    """Number of a scan as in Synapse's training set: 1 to 10, then 21 to 40."""
    return index + 1 if index < 10 else index + 11


@dataclass(frozen=True)
class Part:
    """One folder of the cohort.

    Attributes:
        kind: key of `FOLDERS`. "mr", "ct" and "radiographs" are ready for training; "chaos", "sabs" and "roco" are
            such data as downloaded, to be prepared.
        count: scans, or images.
        seed: of the cohort.
        size: slice size of processed scans, smallest one of raw MR, half the one of raw CT; 0: not of slices.
    """

    kind: str
    count: int
    seed: int
    size: int

    @property
    def folder_name(self) -> str:
        return FOLDERS[self.kind]

    def files(self) -> list[tuple[str, ...]]:
        """File names of every item (a scan or an image), in order; scans are numbered as in the real data sets.

        An item of "chaos" is a folder, which is there when all its files are.
        """
        if self.kind == "radiographs":
            return [(f"radiograph_{index:04d}.jpg",) for index in range(self.count)]
        if self.kind == "roco":
            images = [f"{ROCO_IMAGES}/ROCO_{index:05d}.jpg" for index in range(self.count)]
            for number, place in enumerate(ROCO_OTHERS, start=1):
                images += [f"{place}/ROCO_{number}{index:04d}.jpg" for index in range(-(-self.count // 50))]
            return [(name,) for name in images]
        if self.kind == "chaos":
            return [(f"Train_Sets/MR/{chaos_patient(index)}",) for index in range(self.count)]
        if self.kind == "sabs":
            numbers = [f"{synapse_number(index):04d}.nii.gz" for index in range(self.count)]
            return [(f"RawData/Training/label/label{n}", f"RawData/Training/img/img{n}") for n in numbers]
        first = 1 if self.kind == "mr" else 0
        ids = [str(number) for number in range(first, first + self.count)]
        return [(volume_name(LABEL, scan_id), volume_name(IMAGE, scan_id)) for scan_id in ids]

    def manifest(self) -> dict:
        return {"generator_version": GENERATOR_VERSION, **asdict(self)}
