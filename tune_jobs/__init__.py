"""Hyperparameter searches on Ray Tune and Optuna that see the tuning partition and nothing else."""
