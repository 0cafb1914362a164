"""Stage 1: dense contrastive pre-training of a backbone on unlabelled radiology images."""
