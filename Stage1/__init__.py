"""Stage 1: dense contrastive pre-training of a backbone on unlabelled radiology images."""

from Stage1.compatibility import mend_process

mend_process()
