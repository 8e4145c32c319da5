"""Runs workflow JSON outside the browser: conversion, validation, a local executor and a server client.

`run_workflow.py` at the top of the repository is the command line over it.
"""
