"""What makes the models fast on a CPU: other orders of the same sums, and what a machine does well."""
