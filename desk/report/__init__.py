"""`desk report`: a trading loop in plain Python as it is often first written, and the engine, measured here and now."""
