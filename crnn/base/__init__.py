"""What every room above stands on: checks of what users give, layers, the two backends."""
