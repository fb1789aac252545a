"""Pure functions from NetParameter to NetParameter: upgrade, filter, insert splits, fuse, expand."""
