"""Sources of training data, and the prefetching that keeps them ahead of the network."""
