#!/usr/bin/python
"""Stand-in for plugins/modules/hosttune_settings.py: writes its arguments to $HOSTTUNE_RENDERED/ROLE.json.

With $HOSTTUNE_CHANGED it says that it changed each file."""

import json
import os

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "default": "present"},
            "files": {"type": "dict", "default": {}},
            "values": {"type": "dict", "default": {}},
            "reload_systemd": {"type": "bool", "default": False},
            "offline": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    with open(os.path.join(os.environ["HOSTTUNE_RENDERED"], f"{module.params['name']}.json"), "w") as file:
        json.dump(module.params, file)
    changed = list(module.params["files"]) if os.environ.get("HOSTTUNE_CHANGED") else []
    module.exit_json(changed=bool(changed), paths=changed, running={}, left=[])


if __name__ == "__main__":
    main()
