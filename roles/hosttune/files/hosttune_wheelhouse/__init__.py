"""What the command wheelhouse.py consists of: does it fit, which wheels, build."""
