"""Questions asked beside trading: value at risk, distances between venues."""
