//! Tensors, tape, operations with forward and backward, kernels per instruction set
