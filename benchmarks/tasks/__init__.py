"""Tasks to compare algorithms on, each a registered environment whose docstring says what there is to know of it."""
