"""Stage 2: few-shot organ segmentation trained on superpixel pseudo-labels."""

from Stage1.compatibility import mend_process

mend_process()
