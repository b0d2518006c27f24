CPU: str
VERSION: str
