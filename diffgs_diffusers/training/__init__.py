"""What the scripts in ``training/`` share: arguments, data order, checkpoints, the loop, objectives."""
