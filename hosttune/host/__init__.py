"""What a host has and does: one module for each kernel subsystem or kind of file.

All read through one `root` (the live machine, a captured tree, or a snapshot); what parses text is pure.
"""
