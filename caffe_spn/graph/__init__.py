"""Pure functions on NetParameters: upgrade, filter, insert splits, fuse, expand."""
