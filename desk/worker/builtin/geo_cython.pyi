#: A capsule "desk.worker".
WORKER: object
