"""Pure functions of tensors and arrays, and how their kernels are compiled: no modules, no files, no state."""
