"""Rolling cross-validation: work blocks, the runner, the forecast frame, evaluation, strategy."""
