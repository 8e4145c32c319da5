"""Prompts in API format for the fake nodes."""

MAKE = {"amount": 1, "ratio": 0.5, "colour": "red", "text": "cat", "flag": True}


def api(**nodes):
    """Prompt from n1=("Class", {inputs}), …"""
    return {key[1:]: {"class_type": kind, "inputs": given} for key, (kind, given) in nodes.items()}


def made(**more):
    return api(n1=("Make", {**MAKE, **more}), n3=("Show", {"thing": ["1", 0]}))


def without(name):
    return api(n1=("Make", {k: v for k, v in MAKE.items() if k != name}), n3=("Show", {"thing": ["1", 0]}))


def shown(**inputs):
    return api(n1=("Make", MAKE), n3=("Show", inputs))
