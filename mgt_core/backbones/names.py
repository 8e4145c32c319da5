"""Names of modules within a network."""


def begins(name: str, beginnings: tuple[str, ...]) -> bool:
    """Whether the module `name` is one of those that `beginnings` ("mlm_layer.") mean, or lies within one."""
    return f"{name}.".startswith(beginnings)
