"""`ossnet-train`: training, evaluation and synthesis for the engine's networks."""
