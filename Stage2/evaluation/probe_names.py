"""What the probes of frozen features can be asked for, by name; nothing is imported for it."""

STAGES = {"C4": ("layer1", "layer2", "layer3"), "C5": ("layer1", "layer2", "layer3", "layer4")}
PROBES = ("knn", "linear")
LAST_STAGE = "C5"  # of other networks than ResNets, too
BATCH_NORMS = ("saved", "adapted")
NO_BATCH_NORM = "none"  # of a network that has none
