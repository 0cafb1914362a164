"""Stage 2: few-shot organ segmentation trained on superpixel pseudo-labels."""
