"""Training: `fit`, what it trains on, and the optimizers."""
