"""Runs workflow JSON outside the browser: conversion, validation, a local executor and a server client.

`command.py` is the command line over it, which `run_workflow.py` at the top of the repository starts wherever the
pack's dependencies are installed, and `./mgt run` after setting them up.
"""
