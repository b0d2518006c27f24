#: A capsule "agent.strategy".
STRATEGY: object
