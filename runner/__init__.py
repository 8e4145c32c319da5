"""Runs workflow JSON outside the browser: conversion, validation, a local executor and a server client.

`command.py` is the command line over it, which `run_workflow.py` at the top of the repository starts wherever the
pack's dependencies are installed, and `./mgt run` after setting them up. In the order in which a file goes through:

    titles, files (png, flac, bounded, strangers)   which file is meant; the JSON in it
    shape                                     how much a workflow may hold, and of which shape
    settings                                  --set
    convert                                   workflow of the browser -> prompt of a server
      graph                                     its graphs: subgraphs where they are used
        groups, promoted, broadcasts              old group nodes as such; values on a subgraph's face; links by type
      links                                     what feeds an input, all looked through that is in the browser alone
        browser_nodes, setters                    what such nodes do; Set and Get nodes
      widgets                                   values: as saved, and as they are filled in
        alternatives, replaced                    {a|b} and comments; %Node.widget% and %date:...%
      separators, unknown                       choices of another system; what is said of nodes that are not there
    validate (specs)                          what is wrong, as a server says it
    local (pack)                              a run here
      images (naming, pictures), audio (sounds), host_nodes, host_values   stand-ins for nodes of ComfyUI
    server (transport, answers, events)       a run on a server

`problems` has the errors and how they are worded, for all of them; `places` and `writing` where files go.
"""
