"""The recipe of the shipped nano models: `python -m samlabel.training --help`."""
