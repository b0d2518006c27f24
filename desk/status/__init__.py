"""Whether all is well on this host: engines, rings and the processes of the desk, read by none of their ends."""
