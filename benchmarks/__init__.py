"""Tasks, recipes and measurements that are run by hand: the speed table and the bundled model's pre-training."""
