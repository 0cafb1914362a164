"""Running an experiment over its folds: what is done already, what is to run, and where it runs."""
