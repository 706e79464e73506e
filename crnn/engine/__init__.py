"""What runs a network's passes: packed weights, plans, threads."""
