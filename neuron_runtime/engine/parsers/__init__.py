"""How models write reasoning and tool calls, read back while the text arrives. Pure.

One module per format. ``formats.py`` says which format a model writes, ``call_grammar.py`` what a
forced call must look like so that the same parser reads it.
"""
