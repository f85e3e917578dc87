"""Floor 0: oneDNN's convolution, and our own batch norm and max pooling, for XLA on the CPU.

XLA's convolutions on the CPU take two to three times as long as oneDNN's. Nothing here is needed:
`ops` computes the same by XLA wherever this room cannot be used, and only `ops` calls it, where
`ops.using("onednn")` says so.

The C++ is compiled once, in about ten seconds, at first use; see `library`. oneDNN runs on one
thread and the batch is dealt out to XLA's own threads, in parts that depend on the shapes alone, so
that the bits do not depend on the number of cores.
"""
