"""One module for each change of the tables, in order; write the next by copying the last."""
