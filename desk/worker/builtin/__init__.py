"""The built-in workers: geo, great-circle distances to a reference point, in three languages."""
