"""What every room above stands on: checks of arguments, kinds of cells, the two backends."""
