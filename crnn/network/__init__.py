"""Networks: what they are told, their parameters, their passes, steps and files."""
