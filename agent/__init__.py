"""The trading agent: Python control plane, compiled data plane."""
