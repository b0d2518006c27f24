"""The control plane around the engines: ordinary processes on housekeeping CPUs, each of which may die at any time."""
