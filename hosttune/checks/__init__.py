"""One module for each section of a profile, by the section's name.

Each has the typed schema `Section`, `facts(root, wanted)`, which reads, and `check(wanted, facts, observed)`,
which is pure and returns findings. Optional are `sample(root)`, which reads counters that two moments are
compared by, `sweep(root)`, which reads what another profile could ask for, so that a snapshot holds it, and
`kept(wanted)`, which returns what a snapshot may keep of files that no section of hosttune's reads: patterns of paths
to functions from a file's text to what is kept of it (:mod:`hosttune.host.kept`).
Modules that begin with `_` are shared by sections.
"""
