"""How a store's tables came to be, step by step, so that an older store is brought up to date when it is opened."""
