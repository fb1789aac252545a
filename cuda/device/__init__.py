"""The opened device, behind one interface to the CUDA driver.

driver          what is needed of a CUDA driver, and nothing else
pycuda_driver   PyCUDA implements it (parts of it: pycuda_context, _graphs, _import, _objects)
devices         which devices there are, and which are too old
opened          the opened device: its streams, programs and libraries
opened_memory   its arrays, and copies (opened_base: its context, and the main stream)
memory          a pool of device memory
programs        the kernels that are loaded, and how their arguments are passed
staging         uploads for which the host does not wait
feed            batches that are uploaded while the device computes
graphs          passes as CUDA graphs
"""
