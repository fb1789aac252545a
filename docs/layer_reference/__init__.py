"""The pages of docs/layers, made from the layers' docstrings by `python -m docs.layer_reference`.

`docstring` reads numpydoc, `layers` finds what there is to say about a layer type, `check` compares
that with the layer's messages and registration, `pages` writes Markdown.
"""
