def set_no_new_privileges() -> None:
    """Nothing that this process or a program that it executes does gives it a privilege that it has not now."""

def set_parent_death_signal(number: int) -> None:
    """Have the kernel send this process a signal when its parent ends; a change of user takes that back."""

def empty_bounding_set() -> None:
    """Drop every capability from the bounding set; needs CAP_SETPCAP."""

def set_capabilities(permitted: int, effective: int) -> None:
    """Set the permitted and the effective set, as bit masks; empty the inheritable and the ambient one."""

def join_new_session_keyring() -> None:
    """Leave the session keyring that was inherited for a new, empty one, if there are keyrings."""

def reset_signal_actions() -> None:
    """Give every signal its default action, also those that the C library keeps for itself."""
