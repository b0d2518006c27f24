"""Wire and file formats: parsing and building bytes, with no state of the engine."""
